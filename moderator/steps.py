"""The steps from bytes to a verdict. Who calls them says when: the library's `Moderator`, and the worker."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import sha256

import numpy as np

from moderator.compiler import Compiler
from moderator.encoders.base import Embeddings, Encoder, Pixels
from moderator.encoders.registry import encoder_of
from moderator.errors import ModelMismatch, ModeratorError, PolicyUnusable, SignalFailed
from moderator.events import Event
from moderator.images.breaker import Breakers
from moderator.images.decode import DecodeLimits
from moderator.images.fetch import Fetcher
from moderator.images.pool import DecoderPool
from moderator.images.prepare import Recipe, prepare
from moderator.images.process import Reason
from moderator.policies.catalogue import Catalogue, Selection, parse_reference
from moderator.policies.schema import Policy
from moderator.scoring.judge import judge
from moderator.settings import Settings, load_settings
from moderator.signals.base import Frame
from moderator.signals.files import SIGNAL_FILES
from moderator.signals.reading import Readings, Signals, facts, refuse_failed, scores
from moderator.stopwatch import Stopwatch
from moderator.verdicts import (
    Decision,
    ErrorFacts,
    ImageFacts,
    ModelFacts,
    PolicyFacts,
    ShadowVerdict,
    Verdict,
)

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Prepared:
    """A decoded image, ready for the model."""

    facts: ImageFacts
    pixels: Pixels
    """uint8 [frames, image_size, image_size, 3]"""
    selection: Selection | None = None
    """The policies that judge, if they were known: signals that look at pixels were read for them."""
    readings: Readings = field(default_factory=dict)
    signal_seconds: float = 0.0
    """Spent on these signals, a part of the time that `prepare` took."""


class Steps:
    """One encoder, a folder of policies, and the steps from bytes to a verdict. Thread-safe.

    Args:
        settings: default: the environment's.
        encoder: default: the one that the settings name.
        processes: decode in so many confined processes, which a hostile image cannot get out of; `close` ends them.
            0: in the calling thread.
        on_decoder_lost: called with the reason when one of them had to be replaced.
        breakers: keep from image hosts that fail all the time; default: each is asked each time.

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
        processes: int = 0,
        on_decoder_lost: Callable[[Reason], None] = lambda reason: None,
        breakers: Breakers | None = None,
    ) -> None:
        self.settings = settings or load_settings()
        self.catalogue = Catalogue(self.settings.policies, (self.settings.cache / SIGNAL_FILES,))
        self.encoder = encoder or encoder_of(self.settings)
        self.fetcher = Fetcher(self.settings, breakers)
        self._compiler = Compiler(self.encoder, self.settings.cache)
        self.signals = Signals(
            (self.settings.policies, self.settings.cache / SIGNAL_FILES),
            self.encoder.identity,
            self.encoder.dimension,
        )
        self._recipe = Recipe(
            DecodeLimits.from_settings(self.settings), self.encoder.preprocess, self.settings.jpeg_draft
        )
        self._decoders = (
            DecoderPool(self._recipe, processes, self.settings.decode_memory, on_decoder_lost)
            if processes
            else None
        )
        self._model = ModelFacts(
            id=self.encoder.identity.id,
            revision=self.encoder.identity.revision,
            preprocessing=self.encoder.identity.preprocessing,
            device=self.encoder.device,
            dtype=self.encoder.dtype,
        )

    def close(self) -> None:
        """End the decoding processes and the connections."""
        if self._decoders is not None:
            self._decoders.close()
        self.fetcher.close()

    @property
    def max_batch(self) -> int:
        """Most frames in one forward pass."""
        return self.settings.max_batch or self.encoder.best_batch

    def prepare(self, data: bytes, event: Event | None = None) -> Prepared:
        """Decode an image file and bring its frames to the model's input size.

        Signals that look at pixels are read here, so that no decoded image waits for the model.

        Args:
            data: the file.
            event: whose policy is asked; without one, policies with such signals cannot judge.

        Raises:
            ImageError: it is no image, broken, beyond a limit, or brought its decoding process down.
            PolicyNotFound, PolicyUnreleased: the event's policy does not exist, or may not decide.
            SignalFailed: a signal cannot be read.
        """
        selection = self._selection(event) if event is not None else None
        policies = _policies(selection) if selection is not None else ()
        enough = self.signals.enough_pixels(policies)
        if self._decoders is None:
            picture = prepare(data, self._recipe, enough)
        else:
            picture = self._decoders.prepare(data, enough)
        facts = ImageFacts(
            sha256=sha256(data).hexdigest(),
            width=picture.width,
            height=picture.height,
            format=picture.format,
            frames=len(picture.pixels),
        )
        start = time.perf_counter()
        frames = [Frame(image=view) for view in picture.views]
        readings = self.signals.read(policies, frames, uses_pixels=True)
        if selection is not None:
            refuse_failed(selection.decides, readings)  # the model need not look at it
        seconds = time.perf_counter() - start if readings else 0.0
        return Prepared(facts, picture.pixels, selection, readings, seconds)

    def recall(self, event: Event, facts: ImageFacts) -> Prepared:
        """An image whose embeddings are known: what `judge` needs beside them, without its pixels."""
        size = self.encoder.image_size
        return Prepared(facts, np.empty((0, size, size, 3), dtype=np.uint8), self._selection(event))

    def needs_pixels(self, event: Event) -> bool:
        """Whether a signal of the event's policies looks at the picture itself.

        Raises:
            PolicyNotFound, PolicyUnreleased: the event's policy does not exist, or may not decide.
        """
        return self.signals.enough_pixels(_policies(self._selection(event))) > 0

    @property
    def embedding_space(self) -> str:
        """Names all that an embedding depends on besides the file: model, precision, limits, reduced decoding."""
        recipe = sha256(repr(self._recipe).encode()).hexdigest()[:16]
        return f"{self.encoder.identity.key}-{self.encoder.dtype}-{recipe}"

    def embed(self, pixels: Pixels) -> Embeddings:
        """Embed frames, uint8 [n, size, size, 3] -> float32 [n, dimension], at most `max_batch` in one forward."""
        size = self.max_batch
        parts = [self.encoder.embed_images(pixels[at : at + size]) for at in range(0, len(pixels), size)]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def select(self, reference: str, event_key: str) -> Selection:
        """The versions that decide and shadow for an event, by `NAME` or `NAME@VERSION`.

        Raises:
            PolicyNotFound: there is no such policy.
            PolicyUnreleased: the version is a draft.
        """
        name, version = parse_reference(reference)
        if version is not None:
            return Selection(self._version(name, version))
        return self.catalogue.select(name, event_key)

    def _version(self, name: str, version: int) -> Policy:
        """The version that an event names."""
        return self.catalogue.released(name, version)

    def compile_policies(self) -> None:
        """Compile every version that a pointer names, so that no event waits for it.

        From now on, a version goes live only once it compiled: until then the one before it stays in force.
        """
        self.catalogue.require(self._compile)
        self._unload_texts()

    def refresh_policies(self) -> bool:
        """Take in what changed in the folder of policies; False where that makes no difference."""
        changed = self.catalogue.refresh()
        if changed or self.catalogue.snapshot.unusable:  # what did not compile was tried again
            self._unload_texts()
        return changed

    def _unload_texts(self) -> None:
        if self.settings.unload_texts:
            self._compiler.unload_texts()

    def _compile(self, policy: Policy) -> None:
        """Compile a version and make its signals.

        Raises:
            PolicyUnusable: that does not work here.
        """
        part = "its prompts"
        try:
            self._compiler.compile(policy)
            for spec in policy.signals:
                part = f"the signal {spec.name}"
                self.signals.make(spec)
        except Exception as error:  # whatever a model library raises: the version before goes on
            reason = str(error) if isinstance(error, ModeratorError) else f"{type(error).__name__}: {error}"
            log.warning("%s: %s cannot be used: %s", policy.reference, part, reason)
            raise PolicyUnusable(f"{policy.reference}: {part} cannot be used: {reason}") from error

    def warm_up(self) -> None:
        """Compile the policies, and run the model once at batch sizes 1 and `max_batch`.

        Raises:
            PolicyNotFound, PolicyUnreleased, PolicyUnusable: the default policy cannot be used.
        """
        self.select(self.settings.default_policy, "")  # before what takes long
        self.compile_policies()
        self.select(self.settings.default_policy, "")
        size = self.encoder.image_size
        for count in (1, self.max_batch):
            self.encoder.embed_images(np.zeros((count, size, size, 3), dtype=np.uint8))

    def judge(self, event: Event, prepared: Prepared, embeddings: Embeddings, watch: Stopwatch) -> Verdict:
        """Score an image and decide.

        Args:
            event: whose policy is asked.
            prepared: the image.
            embeddings: float32 [frames, dimension].
            watch: goes into the verdict's timings; the stages `score` and, where there are any, `signals` are added.

        Raises:
            PolicyNotFound: the event's policy does not exist.
            EmbeddingInvalid: the model returned NaN.
            SignalFailed: a signal cannot be read, or `prepare` was not told the event.
        """
        selection = prepared.selection or self._selection(event)
        readings = self._readings(selection, prepared, embeddings)
        if readings:
            watch.note("signals", prepared.signal_seconds + watch.lap("signals"))
        result = judge(
            self._compiler.compile(selection.decides), embeddings, scores(selection.decides, readings)
        )
        shadows = tuple(self._look_on(policy, embeddings, readings) for policy in selection.shadows)
        watch.lap("score")
        decided = selection.decides
        return Verdict(
            event_id=event.id,
            source=event.source,
            decision=result.decision,
            is_safe=result.is_safe,
            safe_score=result.safe_score,
            unsafe_score=result.unsafe_score,
            categories=result.categories,
            policy=PolicyFacts(name=decided.name, version=decided.version, digest=decided.digest),
            model=self._model,
            image=prepared.facts,
            signals=facts(decided, readings),
            shadow=shadows,
            timings_ms=dict(watch.timings_ms),
            metadata=event.metadata,
        )

    def _selection(self, event: Event) -> Selection:
        return self.select(event.policy or self.settings.default_policy, event.key)

    def _readings(self, selection: Selection, prepared: Prepared, embeddings: Embeddings) -> Readings:
        frames = [Frame(embedding=row) for row in embeddings]
        return {**prepared.readings, **self.signals.read(_policies(selection), frames, uses_pixels=False)}

    def _look_on(self, policy: Policy, embeddings: Embeddings, readings: Readings) -> ShadowVerdict:
        """What a shadow says. Its failure is its own: the verdict stands."""
        try:
            judged = judge(self._compiler.compile(policy), embeddings, scores(policy, readings))
        except (SignalFailed, ModelMismatch) as error:
            log.info("the shadow %s cannot judge: %s", policy.reference, error)
            return ShadowVerdict(
                version=policy.version,
                digest=policy.digest,
                decision=Decision.ERROR,
                unsafe_score=0.0,
                categories={},
            )
        return ShadowVerdict(
            version=policy.version,
            digest=policy.digest,
            decision=judged.decision,
            unsafe_score=judged.unsafe_score,
            categories=judged.categories,
        )

    def failed(self, event: Event, error: ModeratorError, watch: Stopwatch) -> Verdict:
        """The verdict of an event that could not be judged."""
        return Verdict(
            event_id=event.id,
            source=event.source,
            decision=Decision.ERROR,
            is_safe=False,
            error=ErrorFacts(type=type(error).__name__, message=str(error)),
            model=self._model,
            timings_ms=dict(watch.timings_ms),
            metadata=event.metadata,
        )


def _policies(selection: Selection) -> tuple[Policy, ...]:
    return (selection.decides, *selection.shadows)
