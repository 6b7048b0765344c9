"""The facade: images in, verdicts out. No queue, no server.

    from moderator import Moderator

    for verdict in Moderator().check(["cat.jpg", "coffee.jpg"], policy="marketplace"):
        print(verdict.decision, verdict.unsafe_score)

The worker calls the same steps (`prepare`, `embed`, `judge`), with its own scheduling in between.
"""

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

import numpy as np

from moderator.compiler import Compiler
from moderator.encoders.base import Embeddings, Encoder, Pixels
from moderator.encoders.registry import encoder_of
from moderator.errors import ModelMismatch, ModeratorError, SignalFailed
from moderator.events import Event, ImageReference
from moderator.images.breaker import Breakers
from moderator.images.decode import DecodeLimits
from moderator.images.fetch import Fetcher
from moderator.images.pool import DecoderPool
from moderator.images.prepare import Recipe, prepare
from moderator.images.process import Reason
from moderator.lookahead import ahead
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

#: Source named in the verdicts of `check`.
CHECK_SOURCE = "check"


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


class Moderator:
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
        self.catalogue = Catalogue(self.settings.policies)
        self.encoder = encoder or encoder_of(self.settings)
        self.fetcher = Fetcher(self.settings, breakers)
        # Paths given to `check` are the caller's own: any of them may be read.
        self._local = Fetcher(self.settings.model_copy(update={"fetch_roots": (Path("/"),)}))
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
        self._local.close()

    @property
    def max_batch(self) -> int:
        """Most frames in one forward pass."""
        return self.settings.max_batch or self.encoder.best_batch

    def check(self, images: Iterable[str | Path | bytes], policy: str | None = None) -> list[Verdict]:
        """Judge images by a policy.

        Args:
            images: paths, http(s) URLs, or the bytes of image files.
            policy: `NAME` (its active version) or `NAME@VERSION`; default: `MODERATOR_DEFAULT_POLICY`.

        Returns one verdict per image, in order. An image that cannot be judged gets the decision `error`.

        Raises:
            PolicyNotFound: there is no such policy.
        """
        return list(self.check_each(images, policy))

    def check_each(
        self, images: Iterable[str | Path | bytes], policy: str | None = None
    ) -> Iterator[Verdict]:
        """As `check`, one by one: decoding runs ahead while the model works, and memory stays bounded."""
        reference = policy or self.settings.default_policy
        self.select(reference, "")  # a wrong name fails before any work
        threads = self.settings.threads or 4
        batch: list[_Checked] = []
        frames = 0
        with ThreadPoolExecutor(threads, thread_name_prefix="decode") as pool:
            for item in ahead(pool, (lambda image: self._open(image, reference)), images, 4 * self.max_batch):
                batch.append(item)
                # A failure counts, too: otherwise a run of them would wait, and grow, until an image follows.
                frames += 1 if item.prepared is None else len(item.prepared.pixels)
                if frames >= self.max_batch:
                    yield from self._finish(batch)
                    batch, frames = [], 0
            yield from self._finish(batch)

    def prepare(self, data: bytes, event: Event | None = None) -> Prepared:
        """Decode an image file and bring its frames to the model's input size.

        Signals that look at pixels are read here, so that no decoded image waits for the model.

        Args:
            data: the file.
            event: whose policy is asked; without one, policies with such signals cannot judge.

        Raises:
            ImageError: it is no image, broken, beyond a limit, or brought its decoding process down.
            PolicyNotFound: the event's policy does not exist.
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
            PolicyNotFound: the event's policy does not exist.
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
        """
        name, version = parse_reference(reference)
        if version is not None:
            return Selection(self.catalogue.get(name, version))
        return self.catalogue.select(name, event_key)

    def compile_policies(self) -> None:
        """Compile every version that a pointer names, so that no event waits for it."""
        for standing in self.catalogue.snapshot.standings.values():
            for policy in (standing.active, standing.canary, *standing.shadows):
                if policy is not None:
                    self._compiler.compile(policy)
                    self.signals.warm_up(policy)
        if self.settings.unload_texts:
            self._compiler.unload_texts()

    def warm_up(self) -> None:
        """Compile the policies, and run the model once at batch sizes 1 and `max_batch`.

        Raises:
            PolicyNotFound: the default policy cannot be used.
        """
        self.select(self.settings.default_policy, "")
        self.compile_policies()
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

    def _open(self, image: str | Path | bytes, policy: str) -> "_Checked":
        checked = _Checked(_check_event(image, policy))
        try:
            if isinstance(image, bytes):
                data = image
            elif isinstance(image, str) and image.startswith(("http://", "https://")):
                data = self.fetcher.fetch(ImageReference(url=image))
            else:
                data = self._local.fetch(ImageReference.model_construct(path=str(Path(image).absolute())))
            checked.watch.lap("fetch")
            checked.prepared = self.prepare(data, checked.event)
            checked.watch.note("decode", checked.watch.lap("decode") - checked.prepared.signal_seconds)
        except ModeratorError as error:
            checked.error = error
        return checked

    def _finish(self, batch: "list[_Checked]") -> Iterator[Verdict]:
        ready = [item.prepared.pixels for item in batch if item.prepared is not None]
        for item in batch:
            if item.prepared is not None:
                item.watch.lap("batch_wait")
        start = time.perf_counter()
        embeddings = self.embed(np.concatenate(ready)) if ready else None
        seconds = time.perf_counter() - start
        at = 0
        for item in batch:
            if item.prepared is None or embeddings is None:
                assert item.error is not None
                yield self.failed(item.event, item.error, item.watch)
                continue
            count = len(item.prepared.pixels)
            # The lap also held the images before this one in the batch, and whoever reads the verdicts.
            item.watch.lap("embed")
            item.watch.note("embed", seconds)
            try:
                yield self.judge(item.event, item.prepared, embeddings[at : at + count], item.watch)
            except ModeratorError as error:
                yield self.failed(item.event, error, item.watch)
            at += count


@dataclass
class _Checked:
    """An image on its way through `check`."""

    event: Event
    watch: Stopwatch = field(default_factory=Stopwatch)
    prepared: Prepared | None = None
    error: ModeratorError | None = None


def _policies(selection: Selection) -> tuple[Policy, ...]:
    return (selection.decides, *selection.shadows)


def _check_event(image: str | Path | bytes, policy: str) -> Event:
    """An event for an image that came past the queue: named after its path, so that verdicts can be told apart."""
    # A file name need not be UTF-8; a verdict has to be.
    name = "inline" if isinstance(image, bytes) else str(image).encode("utf-8", "replace").decode()
    # Constructed unchecked: a path may be longer than an event id, and nothing of this reaches Redis.
    reference = ImageReference.model_construct(path=name)
    return Event.model_construct(id=name, source=CHECK_SOURCE, policy=policy, image=reference, metadata={})
