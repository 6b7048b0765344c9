"""The engine, which joins one encoder, a policy folder, a preparer and a judge."""

import logging
from collections.abc import Callable
from hashlib import sha256

import numpy as np

from moderator.encoders.encoder import Embeddings, Encoder, Pixels
from moderator.encoders.encoder_registry import encoder_of
from moderator.engine.compiler import Compiler
from moderator.engine.judge import Judge, Judged, describe_error
from moderator.engine.preparer import Prepared, Preparer
from moderator.engine.resolver import PolicyResolver
from moderator.engine.second_stage import SecondStage
from moderator.engine.stopwatch import Stopwatch
from moderator.errors import EncoderForeign, ModeratorError, PolicyUnusable
from moderator.events import Event
from moderator.images.decode import DecodeLimits
from moderator.images.prepare import PreprocessSpec
from moderator.images.process import Reason
from moderator.policies.schema import Policy
from moderator.settings import Settings, load_settings
from moderator.signals.evaluator import Readings, Signals
from moderator.signals.signal import ModelHost
from moderator.signals.signal_files import SIGNAL_FILES
from moderator.verdicts import Decision, ModelFacts, PolicyFacts, Verdict

log = logging.getLogger(__name__)

_NO_READINGS: Readings = {}
#: Increment when the path from a file to the model's input changes, so that stored embeddings are not reused.
_PREPROCESSING_VERSION = "5"


class Engine:
    """Everything that judges images, in one process. The caller decides when to call each part. Thread-safe.

    Args:
        settings: default: the environment's.
        encoder: default: the one that the settings name.
        resolver: selects the policies that judge; default: from the settings' folder, without drafts.
        processes: number of confined decoding processes; see `Preparer`. `close` ends them.
        on_decoder_lost: called with the reason when a decoding process had to be replaced.

    Raises:
        EncoderUnknown, RuntimeMissing, WeightsInvalid, SettingsError: the encoder cannot be loaded.
        PolicyError: no policy can be used.
        DecoderUnavailable: the decoding processes do not start.
    """

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        encoder: Encoder | None = None,
        resolver: PolicyResolver | None = None,
        processes: int = 0,
        on_decoder_lost: Callable[[Reason], None] = lambda reason: None,
    ) -> None:
        self.settings = settings or load_settings()
        self.resolver = resolver or PolicyResolver.from_settings(self.settings)
        self.catalogue = self.resolver.catalogue
        self.encoder = encoder or encoder_of(self.settings)
        self.signals = Signals(
            (self.settings.policies, self.settings.cache / SIGNAL_FILES),
            self.encoder.identity,
            self.encoder.dimension,
            ModelHost(
                self.settings.device
                if self.settings.signal_device == "auto"
                else self.settings.signal_device,
                self.settings.signal_dtype,
                self.settings.signal_memory,
            ),
        )
        self.compiler = Compiler(self.encoder, self.settings.cache)
        self.preparer = Preparer(
            PreprocessSpec(
                DecodeLimits.from_settings(self.settings),
                self.encoder.preprocess,
                self.settings.jpeg_draft,
                self.settings.views,
            ),
            self.signals,
            processes=processes,
            memory=self.settings.decode_memory,
            on_decoder_lost=on_decoder_lost,
        )
        self._judge = Judge(self.compiler, self.signals)
        self.second_stage = SecondStage(self.preparer, self.signals)
        self.model = ModelFacts(
            id=self.encoder.identity.id,
            revision=self.encoder.identity.revision,
            preprocessing=self.encoder.identity.preprocessing,
            device=self.encoder.device,
            dtype=self.encoder.dtype,
        )

    def close(self) -> None:
        """End the decoding processes."""
        self.preparer.close()

    @property
    def max_batch(self) -> int:
        """Maximum number of frames in one forward pass."""
        return self.settings.max_batch or self.encoder.best_batch

    @property
    def embedding_space(self) -> str:
        """Identity of what an embedding depends on besides the file: model, precision, limits, reduced decoding."""
        spec = self.preparer.spec
        # Earlier versions used this format, and their embeddings must still be found.
        text = f"{_PREPROCESSING_VERSION} Recipe(limits={spec.limits!r}, resize={spec.resize!r}, draft={spec.draft!r})"
        return f"{self.encoder.identity.key}-{self.encoder.dtype}-{sha256(text.encode()).hexdigest()[:16]}"

    def embed(self, pixels: Pixels) -> Embeddings:
        """Embed frames, uint8 [n, size, size, 3] -> float32 [n, dimension], at most `max_batch` per forward pass."""
        size = self.max_batch
        parts = [self.encoder.embed_images(pixels[at : at + size]) for at in range(0, len(pixels), size)]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def judge(
        self,
        event: Event,
        prepared: Prepared,
        embeddings: Embeddings,
        watch: Stopwatch,
        shadow_readings: Readings = _NO_READINGS,
    ) -> Judged:
        """Judge an image by the policies selected for it.

        If the result has questions, a second opinion is due: call `second_stage.ask`, or `leave`.

        Args:
            event: names the policy.
            prepared: the image.
            embeddings: float32 [views, dimension].
            watch: receives the stage `score`, and `signals` if the policy has any.
            shadow_readings: what the preparer read for the shadows.

        Raises:
            PolicyNotFound: the event's policy does not exist.
            EmbeddingInvalid: the model returned NaN.
            SignalFailed: a signal cannot be read, or the image was prepared without the policies.
        """
        selection = prepared.selection or self.resolver.select_for(event)
        readings = self._judge.read_embeddings(selection.decides, embeddings, prepared.readings)
        if readings:
            watch.note("signals", prepared.signal_seconds + watch.lap("signals"))
        judged = self._judge.judge(
            embeddings,
            {**shadow_readings, **readings},
            selection,
            views=prepared.views,
            unseen=prepared.facts.frames_unseen > 0,
        )
        judged = self.second_stage.admit(judged)
        watch.lap("score")
        return judged

    def verdict(self, event: Event, prepared: Prepared, judged: Judged, watch: Stopwatch) -> Verdict:
        """Return the verdict of a judged event."""
        policy, judgement, decisive = judged.policy, judged.judgement, judged.decisive
        return Verdict(
            event_id=event.id,
            source=event.source,
            decision=judgement.decision,
            is_safe=judgement.is_safe,
            safe_score=judgement.safe_score,
            unsafe_score=judgement.unsafe_score,
            severity=decisive and decisive.severity,
            message=decisive and decisive.message,
            categories=judgement.categories,
            policy=PolicyFacts(name=policy.name, version=policy.version, digest=policy.digest),
            model=self.model,
            image=prepared.facts,
            signals=judged.signals,
            shadow=judged.shadows,
            timings_ms=dict(watch.timings_ms),
            metadata=event.metadata,
            bulk=event.bulk,
            image_key=event.image.key,
            image_version=event.image.version,
        )

    def failed(self, event: Event, error: ModeratorError, watch: Stopwatch) -> Verdict:
        """Return the verdict of an event that could not be judged."""
        return Verdict(
            event_id=event.id,
            source=event.source,
            decision=Decision.ERROR,
            is_safe=False,
            error=describe_error(error),
            policy=self.resolver.describe(event),
            model=self.model,
            timings_ms=dict(watch.timings_ms),
            metadata=event.metadata,
            bulk=event.bulk,
            image_key=event.image.key,
            image_version=event.image.version,
        )

    def warm_up(self) -> None:
        """Compile the policies, and run the model once at batch sizes 1 and `max_batch`.

        Raises:
            PolicyNotFound, PolicyUnreleased, PolicyUnusable: the default policy cannot be used.
        """
        self.resolver.select(self.settings.default_policy, "")  # before the slow steps
        self.compile_policies()
        self.resolver.select(self.settings.default_policy, "")
        size = self.encoder.image_size
        for count in (1, self.max_batch):
            self.encoder.embed_images(np.zeros((count, size, size, 3), dtype=np.uint8))

    def compile_policies(self) -> None:
        """Compile every version that a pointer names, so that no event waits for it.

        From then on, a version goes live only after it compiles; until then, the previous one stays in force.
        """
        self.catalogue.require(self._compile)
        self._unload_texts()

    def refresh_policies(self) -> bool:
        """Read what changed in the policy folder, and return whether that makes a difference."""
        changed = self.catalogue.refresh()
        if changed or self.catalogue.snapshot.unusable:  # failed compilations were retried
            self._unload_texts()
        return changed

    def _unload_texts(self) -> None:
        if self.settings.unload_texts:
            self.compiler.unload_texts()

    def _compile(self, policy: Policy) -> None:
        """Compile a version and create its signals.

        Raises:
            PolicyUnusable: either fails on this machine.
            EncoderForeign: its thresholds were measured on other encoders.
        """
        part = "its prompts"
        try:
            self.compiler.compile(policy)
            for spec in policy.signals:
                part = f"the signal {spec.name}"
                self.signals.make(spec)
        except EncoderForeign as error:
            log.error("%s", error)
            raise
        except Exception as error:  # whatever a model library raises: the previous version stays
            reason = str(error) if isinstance(error, ModeratorError) else f"{type(error).__name__}: {error}"
            log.warning("%s: %s cannot be used: %s", policy.reference, part, reason)
            raise PolicyUnusable(f"{policy.reference}: {part} cannot be used: {reason}") from error
