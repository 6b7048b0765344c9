"""The facade: images in, verdicts out. No queue, no server.

    from moderator import Moderator

    for verdict in Moderator().check(["cat.jpg", "coffee.jpg"], policy="marketplace"):
        print(verdict.decision, verdict.unsafe_score)

The worker calls the same parts of `Engine`, with its own scheduling in between.
"""

import logging
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from moderator.bounded_map import bounded_map
from moderator.encoders.encoder import Embeddings, Encoder
from moderator.engine.engine import Engine
from moderator.engine.judge import Judged
from moderator.engine.preparer import Prepared, asks_opinions
from moderator.engine.resolver import PolicyResolver
from moderator.engine.stopwatch import Stopwatch
from moderator.errors import ModeratorError, Unexpected, ours
from moderator.events import Event, ImageReference
from moderator.fetching.fetcher import TrustedFetcher
from moderator.settings import Settings, load_settings
from moderator.signals.evaluator import Moment, Readings
from moderator.verdicts import Verdict

log = logging.getLogger(__name__)

#: Source named in the verdicts of `check`.
CHECK_SOURCE = "check"


class Moderator:
    """Judges images, without a queue. Draft policies may be tried here, because nothing is decided.

    Args:
        settings: default: those of the environment.
        encoder: default: the one that the settings name.
        processes: number of confined processes that decode; `close` ends them. 0: decode in threads.

    Raises:
        EncoderUnknown, RuntimeMissing, WeightsInvalid, SettingsError: the encoder cannot be loaded.
        PolicyError: no policy can be used.
        DecoderUnavailable: the decoding processes do not start.
    """

    def __init__(
        self, settings: Settings | None = None, *, encoder: Encoder | None = None, processes: int = 0
    ) -> None:
        self.settings = settings or load_settings()
        resolver = PolicyResolver.from_settings(self.settings, drafts=True)
        self.engine = Engine(self.settings, encoder=encoder, resolver=resolver, processes=processes)
        # Images given to `check` are named by the caller: any file may be read.
        self._images = TrustedFetcher(self.settings)

    def close(self) -> None:
        """End the decoding processes and the connections."""
        self.engine.close()
        self._images.close()

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
        """Judge images as `check` does, one by one: decoding runs ahead of the model, and memory stays bounded."""
        reference = policy or self.settings.default_policy
        self.engine.resolver.select(reference, "")  # a wrong name fails before any work
        threads = self.settings.threads or 4
        most = self.engine.max_batch
        batch: list[_Checked] = []
        frames = 0
        opened = bounded_map(threads, (lambda image: self._open(image, reference)), images, 4 * most)
        with closing(opened):
            for item in opened:
                if item is None:  # a host is slow: answer the images that have arrived
                    yield from self._finish(batch)
                    batch, frames = [], 0
                    continue
                batch.append(item)
                # A failure counts, too: otherwise a series of failures would wait, and grow, until an image follows.
                frames += 1 if item.prepared is None else len(item.prepared.pixels)
                if frames >= most:
                    yield from self._finish(batch)
                    batch, frames = [], 0
            yield from self._finish(batch)

    def _open(self, image: str | Path | bytes, policy: str) -> "_Checked":
        checked = _Checked(_check_event(image, policy))
        try:
            data = image if isinstance(image, bytes) else self._images.fetch(image)
            checked.watch.lap("fetch")
            preparer = self.engine.preparer
            prepared = preparer.prepare(data, self.engine.resolver.select_for(checked.event))
            if prepared.needs_slow_reading:
                prepared = preparer.read_slowly(data, prepared)
            checked.watch.note("decode", checked.watch.lap("decode") - prepared.signal_seconds)
            shadows = [spec for m in (Moment.PIXELS, Moment.SLOWLY) for spec in prepared.shadow_signals(m)]
            checked.shadow_readings = preparer.read_for_shadows(data, shadows)
            if prepared.selection is not None and asks_opinions(prepared.selection):
                checked.data = data
            checked.prepared = prepared
        except Exception as error:
            checked.error = ours(error)
        return checked

    def _finish(self, batch: "list[_Checked]") -> Iterator[Verdict]:
        ready = [item for item in batch if item.prepared is not None]
        for item in ready:
            item.watch.lap("batch_wait")
        self._embed_all(ready)
        for item in batch:
            self._judge(item)
        self._ask([item for item in batch if item.judged is not None and item.judged.questions])
        for item in batch:
            yield self._verdict(item)

    def _embed_all(self, items: "list[_Checked]") -> None:
        """Embed images together; if that fails, one by one, so that one image's failure does not affect the others."""
        if not items:
            return
        start = time.perf_counter()
        pixels = [item.prepared.pixels for item in items if item.prepared is not None]
        try:
            embeddings = self.engine.embed(np.concatenate(pixels))
        except Exception as error:  # model libraries raise anything
            if len(items) == 1:
                items[0].error = ours(error)
            else:
                log.warning("a batch of %d failed (%s): running its images one by one", len(items), error)
                for item in items:
                    self._embed_all([item])
            return
        seconds = time.perf_counter() - start
        ends = np.cumsum([len(frames) for frames in pixels])
        for item, rows in zip(items, np.split(embeddings, ends[:-1]), strict=True):
            item.embeddings, item.seconds = rows, seconds

    def _judge(self, item: "_Checked") -> None:
        if item.error is not None:
            return
        assert item.prepared is not None
        assert item.embeddings is not None
        # The lap also included earlier images of the batch.
        item.watch.lap("embed")
        item.watch.note("embed", item.seconds)
        try:
            item.judged = self.engine.judge(
                item.event, item.prepared, item.embeddings, item.watch, item.shadow_readings
            )
        except Exception as error:
            item.error = ours(error)

    def _ask(self, items: "list[_Checked]") -> None:
        """Ask for second opinions on images in review, side by side, so that they share batches of the model."""

        def ask(item: _Checked) -> None:
            assert item.judged is not None
            assert item.data is not None
            item.judged = self.engine.second_stage.ask(item.data, item.judged)
            item.watch.lap("opinion")

        if items:
            with ThreadPoolExecutor(self.settings.threads or 4, thread_name_prefix="opinion") as threads:
                list(threads.map(ask, items))

    def _verdict(self, item: "_Checked") -> Verdict:
        if item.error is not None or item.prepared is None or item.judged is None:
            return self.engine.failed(item.event, item.error or Unexpected("not judged"), item.watch)
        return self.engine.verdict(item.event, item.prepared, item.judged, item.watch)


@dataclass
class _Checked:
    """An image on its way through `check`."""

    event: Event
    watch: Stopwatch = field(default_factory=Stopwatch)
    prepared: Prepared | None = None
    data: bytes | None = None
    """The file, if the deciding policy may ask for a second opinion."""
    shadow_readings: Readings = field(default_factory=dict)
    """Readings of the shadow policies' signals."""
    embeddings: Embeddings | None = None
    seconds: float = 0.0
    """Time that the model took for its batch."""
    judged: Judged | None = None
    error: ModeratorError | None = None


def _check_event(image: str | Path | bytes, policy: str) -> Event:
    """Make an event for an image that bypasses the queue, named after its path to distinguish verdicts."""
    # A file name need not be UTF-8; a verdict must be.
    name = "inline" if isinstance(image, bytes) else str(image).encode("utf-8", "replace").decode()
    # Constructed unchecked: a path may be longer than an event id, and this event never reaches Redis.
    reference = ImageReference.model_construct(path=name)
    return Event.model_construct(id=name, source=CHECK_SOURCE, policy=policy, image=reference, metadata={})
