"""The facade: images in, verdicts out. No queue, no server.

    from moderator import Moderator

    for verdict in Moderator().check(["cat.jpg", "coffee.jpg"], policy="marketplace"):
        print(verdict.decision, verdict.unsafe_score)

The worker calls the same steps (`prepare`, `embed`, `judge`), with its own scheduling in between.
"""

import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from moderator.compiler import Compiler
from moderator.encoders.base import Embeddings, Encoder, Pixels
from moderator.encoders.registry import load_encoder
from moderator.errors import ModeratorError
from moderator.events import Event, ImageReference
from moderator.images.breaker import Breakers
from moderator.images.decode import DecodeLimits, decode
from moderator.images.fetch import Fetcher
from moderator.lookahead import ahead
from moderator.policies.catalogue import Catalogue, Selection, parse_reference
from moderator.scoring.judge import judge
from moderator.settings import Settings, load_settings
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

#: Source named in the verdicts of `check`.
CHECK_SOURCE = "check"


@dataclass(frozen=True, eq=False)
class Prepared:
    """A decoded image, ready for the model."""

    facts: ImageFacts
    pixels: Pixels
    """uint8 [frames, image_size, image_size, 3]"""


class Moderator:
    """One encoder, a folder of policies, and the steps from bytes to a verdict. Thread-safe.

    Args:
        settings: default: the environment's.
        encoder: default: the one that the settings name.
        breakers: keep from image hosts that fail all the time; default: each is asked each time.

    Raises:
        EncoderUnknown, WeightsInvalid, SettingsError: the encoder cannot be loaded.
        PolicyError: no policy can be used.
    """

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        encoder: Encoder | None = None,
        breakers: Breakers | None = None,
    ) -> None:
        self.settings = settings or load_settings()
        self.catalogue = Catalogue(self.settings.policies)
        self.encoder = encoder or load_encoder(
            self.settings.encoder, self.settings.device, self.settings.dtype
        )
        self.fetcher = Fetcher(self.settings, breakers)
        # Paths given to `check` are the caller's own: any of them may be read.
        self._local = Fetcher(self.settings.model_copy(update={"fetch_roots": (Path("/"),)}))
        self._compiler = Compiler(self.encoder, self.settings.cache)
        self._limits = DecodeLimits.from_settings(self.settings)
        self._model = ModelFacts(
            id=self.encoder.identity.id,
            revision=self.encoder.identity.revision,
            preprocessing=self.encoder.identity.preprocessing,
            device=self.encoder.device,
            dtype=self.encoder.dtype,
        )

    @property
    def max_batch(self) -> int:
        """Most frames in one forward pass."""
        return self.settings.batch_on(self.encoder.device)

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

    def prepare(self, data: bytes) -> Prepared:
        """Decode an image file and bring its frames to the model's input size.

        Raises:
            ImageError: it is no image, broken, or beyond a limit.
        """
        draft = self.encoder.image_size if self.settings.jpeg_draft else None
        image = decode(data, self._limits, draft)
        return Prepared(image.facts, np.stack([self.encoder.preprocess(frame) for frame in image.frames]))

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
            watch: goes into the verdict's timings; the stage `score` is added.

        Raises:
            PolicyNotFound: the event's policy does not exist.
            EmbeddingInvalid: the model returned NaN.
        """
        selection = self.select(event.policy or self.settings.default_policy, event.key)
        result = judge(self._compiler.compile(selection.decides), embeddings)
        shadows = []
        for policy in selection.shadows:
            other = judge(self._compiler.compile(policy), embeddings)
            shadows.append(
                ShadowVerdict(
                    version=policy.version,
                    digest=policy.digest,
                    decision=other.decision,
                    unsafe_score=other.unsafe_score,
                    categories=other.categories,
                )
            )
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
            shadow=tuple(shadows),
            timings_ms=dict(watch.timings_ms),
            metadata=event.metadata,
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
            checked.prepared = self.prepare(data)
            checked.watch.lap("decode")
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


def _check_event(image: str | Path | bytes, policy: str) -> Event:
    """An event for an image that came past the queue: named after its path, so that verdicts can be told apart."""
    # A file name need not be UTF-8; a verdict has to be.
    name = "inline" if isinstance(image, bytes) else str(image).encode("utf-8", "replace").decode()
    # Constructed unchecked: a path may be longer than an event id, and nothing of this reaches Redis.
    reference = ImageReference.model_construct(path=name)
    return Event.model_construct(id=name, source=CHECK_SOURCE, policy=policy, image=reference, metadata={})
