"""Judge a series of images in this process, without a queue: decoding runs ahead of the model.

The worker calls the same parts of `Engine`, with its own scheduling in between.
"""

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field

import numpy as np

from moderator.bounded_map import bounded_map
from moderator.encoders.encoder import Embeddings
from moderator.engine.engine import Engine
from moderator.engine.judge import Judged
from moderator.engine.preparer import Prepared, asks_opinions
from moderator.engine.stopwatch import Stopwatch
from moderator.errors import ModeratorError, Unexpected, ours
from moderator.events import Event
from moderator.signals.evaluator import Moment, Readings
from moderator.verdicts import Verdict

log = logging.getLogger(__name__)

#: Returns the bytes of an image file, or raises an error that becomes its verdict.
Fetch = Callable[[], bytes]


class DirectPipeline:
    """Judges events one after the other, in batches of the model.

    Args:
        engine: judges; the caller closes it.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._threads = engine.settings.threads or 4

    def judge_each(self, images: Iterable[tuple[Event, Fetch]]) -> Iterator[Verdict]:
        """Yield the verdict of each event, in order; one that cannot be judged gets the decision `error`.

        Memory stays bounded however many there are.
        """
        most = self._engine.max_batch
        batch: list[_Checked] = []
        frames = 0
        opened = bounded_map(self._threads, self._open, images, 4 * most)
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

    def _open(self, image: tuple[Event, Fetch]) -> "_Checked":
        event, fetch = image
        checked = _Checked(event)
        try:
            data = fetch()
            checked.watch.lap("fetch")
            preparer = self._engine.preparer
            prepared = preparer.prepare(data, self._engine.resolver.select_for(checked.event))
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
            embeddings = self._engine.embed(np.concatenate(pixels))
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
            item.judged = self._engine.judge(
                item.event, item.prepared, item.embeddings, item.watch, item.shadow_readings
            )
        except Exception as error:
            item.error = ours(error)

    def _ask(self, items: "list[_Checked]") -> None:
        """Ask for second opinions on images in review, side by side, so that they share batches of the model."""

        def ask(item: _Checked) -> None:
            assert item.judged is not None
            assert item.data is not None
            item.judged = self._engine.second_stage.ask(item.data, item.judged)
            item.watch.lap("opinion")

        if items:
            with ThreadPoolExecutor(self._threads, thread_name_prefix="opinion") as threads:
                list(threads.map(ask, items))

    def _verdict(self, item: "_Checked") -> Verdict:
        if item.error is not None or item.prepared is None or item.judged is None:
            return self._engine.failed(item.event, item.error or Unexpected("not judged"), item.watch)
        return self._engine.verdict(item.event, item.prepared, item.judged, item.watch)


@dataclass
class _Checked:
    """An image on its way to its verdict."""

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
