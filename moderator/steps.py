"""The steps from bytes to a verdict. Who calls them says when: the library's `Moderator`, and the worker."""

import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from hashlib import sha256

import numpy as np

from moderator.compiler import Compiler
from moderator.encoders.base import Embeddings, Encoder, Pixels
from moderator.encoders.registry import encoder_of
from moderator.errors import ModeratorError, PolicyError, PolicyUnusable, ours
from moderator.events import Event
from moderator.images.breaker import Breakers
from moderator.images.decode import DecodeLimits
from moderator.images.fetch import Fetcher
from moderator.images.pool import DecoderPool
from moderator.images.prepare import Recipe
from moderator.images.process import Reason
from moderator.policies.catalogue import Catalogue, Selection
from moderator.policies.references import parse_reference
from moderator.policies.schema import Policy
from moderator.scoring.judge import Judgement, judge
from moderator.settings import Settings, load_settings
from moderator.signals.base import Frame
from moderator.signals.files import SIGNAL_FILES
from moderator.signals.reading import (
    Moment,
    Readings,
    Signals,
    Specification,
    by_side,
    due,
    facts,
    refuse_failed,
    scores,
    unsure,
)
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
from moderator.viewer import Viewer

log = logging.getLogger(__name__)

_NOTHING: Readings = {}
#: Changes with the way from a file to the model's input, so that embeddings that were kept before are not used.
_WAY = "2"


@dataclass(frozen=True, eq=False)
class Prepared:
    """A decoded image, ready for the model."""

    facts: ImageFacts
    pixels: Pixels
    """uint8 [frames, image_size, image_size, 3]"""
    selection: Selection | None = None
    """The policies that judge, if they were known."""
    readings: Readings = field(default_factory=dict)
    """Of the signals of the policy that decides which look at pixels."""
    signal_seconds: float = 0.0
    """Spent on these signals, a part of the time that `prepare` and `read_slowly` took."""


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
        self._viewer = Viewer(
            self._recipe,
            DecoderPool(self._recipe, processes, self.settings.decode_memory, on_decoder_lost)
            if processes
            else None,
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
        self._viewer.close()
        self.fetcher.close()

    @property
    def max_batch(self) -> int:
        """Most frames in one forward pass."""
        return self.settings.max_batch or self.encoder.best_batch

    def prepare(self, data: bytes, event: Event | None = None) -> Prepared:
        """Decode an image file and bring its frames to the model's input size.

        Signals of the policy that decides which look at pixels are read here, so that no decoded image waits for the
        model; but those that take long are left to `read_slowly`.

        Args:
            data: the file.
            event: whose policy is asked; without one, policies with such signals cannot judge.

        Raises:
            ImageError: it is no image, broken, beyond a limit, or brought its decoding process down.
            PolicyNotFound, PolicyUnreleased: the event's policy does not exist, or may not decide.
            SignalFailed: a signal cannot be read.
        """
        selection = self._selection(event) if event is not None else None
        sides = by_side(due([selection.decides], Moment.PIXELS)) if selection is not None else {}
        picture = self._viewer.decode(data, next(iter(sides), 0))
        facts = ImageFacts(
            sha256=sha256(data).hexdigest(),
            width=picture.width,
            height=picture.height,
            format=picture.format,
            frames=len(picture.pixels),
        )
        prepared = Prepared(facts, picture.pixels, selection)
        if selection is None or not sides:
            return prepared
        start = time.perf_counter()
        readings = self._viewer.read(self.signals, data, sides, picture)
        refuse_failed(selection.decides, readings)  # the model need not look at it
        return replace(prepared, readings=readings, signal_seconds=time.perf_counter() - start)

    def reads_slowly(self, event: Event) -> bool:
        """Whether the policy that decides has signals for `read_slowly`; not where there is no such policy."""
        try:
            return bool(due([self._selection(event).decides], Moment.SLOWLY))
        except PolicyError:
            return False

    def needs_slow_reading(self, prepared: Prepared) -> bool:
        """Whether `read_slowly` has something to read for an image."""
        return prepared.selection is not None and bool(due([prepared.selection.decides], Moment.SLOWLY))

    def read_slowly(self, data: bytes, prepared: Prepared) -> Prepared:
        """Read the signals of the policy that decides which take long.

        Args:
            data: the file, which is decoded once more: what many of them wait for is small.
            prepared: what `prepare` made of it.

        Raises:
            ImageError: as `prepare`.
            SignalFailed: a signal cannot be read.
        """
        assert prepared.selection is not None
        decides = prepared.selection.decides
        start = time.perf_counter()
        readings = self._viewer.read(self.signals, data, by_side(due([decides], Moment.SLOWLY)))
        refuse_failed(decides, readings)
        return replace(
            prepared,
            readings={**prepared.readings, **readings},
            signal_seconds=prepared.signal_seconds + time.perf_counter() - start,
        )

    def shadow_signals(self, prepared: Prepared, moment: Moment) -> list[Specification]:
        """The signals which the shadows have beyond those of the policy that decides, and which look at pixels."""
        selection = prepared.selection
        if selection is None or not selection.shadows:
            return []
        decided = {spec.key for spec in selection.decides.signals}
        return [spec for spec in due(selection.shadows, moment) if spec.key not in decided]

    def look_on(self, data: bytes, specs: Iterable[Specification]) -> Readings:
        """Read signals of shadows, for `judge`. Never raises: what fails here is the shadows' own."""
        return self._viewer.look_on(self.signals, data, specs)

    def recall(self, event: Event, facts: ImageFacts) -> Prepared:
        """An image whose embeddings are known: what `judge` needs beside them, without its pixels."""
        size = self.encoder.image_size
        return Prepared(facts, np.empty((0, size, size, 3), dtype=np.uint8), self._selection(event))

    def needs_pixels(self, event: Event) -> bool:
        """Whether a signal of the policy that decides looks at the picture itself.

        Raises:
            PolicyNotFound, PolicyUnreleased: the event's policy does not exist, or may not decide.
        """
        policies = [self._selection(event).decides]
        return bool(due(policies, Moment.PIXELS) or due(policies, Moment.SLOWLY))

    @property
    def embedding_space(self) -> str:
        """Names all that an embedding depends on besides the file: model, precision, limits, reduced decoding."""
        recipe = sha256(f"{_WAY} {self._recipe!r}".encode()).hexdigest()[:16]
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

    def judge(
        self,
        event: Event,
        prepared: Prepared,
        embeddings: Embeddings,
        watch: Stopwatch,
        beside: Readings = _NOTHING,
    ) -> Verdict:
        """Score an image and decide.

        Args:
            event: whose policy is asked.
            prepared: the image.
            embeddings: float32 [frames, dimension].
            watch: goes into the verdict's timings; the stages `score` and, where there are any, `signals` are added.
            beside: what `look_on` read for the shadows.

        Raises:
            PolicyNotFound: the event's policy does not exist.
            EmbeddingInvalid: the model returned NaN.
            SignalFailed: a signal cannot be read, or `prepare` was not told the event.
        """
        selection = prepared.selection or self._selection(event)
        decided = selection.decides
        readings = self._with_embedding(decided, embeddings, prepared.readings)
        if readings:
            watch.note("signals", prepared.signal_seconds + watch.lap("signals"))
        result = self._judge(decided, embeddings, readings)
        shadows = tuple(
            self._shadow(policy, embeddings, {**beside, **readings}) for policy in selection.shadows
        )
        watch.lap("score")
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
            bulk=event.bulk,
        )

    def _selection(self, event: Event) -> Selection:
        return self.select(event.policy or self.settings.default_policy, event.key)

    def _with_embedding(self, policy: Policy, embeddings: Embeddings, readings: Readings) -> Readings:
        """Readings, and those of the policy's signals of the embedding that are not among them."""
        specs = [spec for spec in due([policy], Moment.EMBEDDING) if spec.key not in readings]
        if not specs:
            return readings
        return {**readings, **self.signals.read(specs, [Frame(embedding=row) for row in embeddings])}

    def _judge(self, policy: Policy, embeddings: Embeddings, readings: Readings) -> Judgement:
        compiled = self._compiler.compile(policy)
        return judge(compiled, embeddings, scores(policy, readings), unsure(policy, readings))

    def _shadow(self, policy: Policy, embeddings: Embeddings, readings: Readings) -> ShadowVerdict:
        """What a shadow says. Its failure, whatever it is, is its own: the verdict stands."""
        try:
            judged = self._judge(policy, embeddings, self._with_embedding(policy, embeddings, readings))
        except Exception as error:
            told = _told(ours(error))
            log.info("the shadow %s cannot judge: %s", policy.reference, told.message)
            return ShadowVerdict(
                version=policy.version, digest=policy.digest, decision=Decision.ERROR, error=told
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
            error=_told(error),
            policy=self._policy_asked_for(event),
            model=self._model,
            timings_ms=dict(watch.timings_ms),
            metadata=event.metadata,
            bulk=event.bulk,
        )

    def _policy_asked_for(self, event: Event) -> PolicyFacts | None:
        """The policy that would have decided; by name alone where none of that name may. None: no such name."""
        try:
            decides = self._selection(event).decides
            return PolicyFacts(name=decides.name, version=decides.version, digest=decides.digest)
        except PolicyError:
            pass
        try:
            name, _ = parse_reference(event.policy or self.settings.default_policy)
        except PolicyError:
            return None
        return PolicyFacts(name=name) if self.catalogue.knows(name) else None


def _told(error: ModeratorError) -> ErrorFacts:
    return ErrorFacts(type=type(error).__name__, message=str(error))
