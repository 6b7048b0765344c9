"""The facade: images in, verdicts out. No queue, no server.

    from moderator import Moderator

    for verdict in Moderator().check(["cat.jpg", "coffee.jpg"], policy="marketplace"):
        print(verdict.decision, verdict.unsafe_score)

The worker calls the same steps (`prepare`, `embed`, `judge`), with its own scheduling in between.
"""

import logging
import time
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from moderator.encoders.base import Embeddings
from moderator.errors import ModeratorError, ours
from moderator.events import Event, ImageReference
from moderator.image_paths import is_url
from moderator.images.fetch import Fetcher
from moderator.lookahead import ahead
from moderator.policies.schema import Policy
from moderator.signals.reading import Moment, Readings
from moderator.steps import Prepared, Steps
from moderator.stopwatch import Stopwatch
from moderator.verdicts import Verdict

log = logging.getLogger(__name__)

#: Source named in the verdicts of `check`.
CHECK_SOURCE = "check"


class Moderator(Steps):
    """`Steps` that also know how to check many images, without a queue. Arguments and errors are those of `Steps`.

    A draft of a policy may be tried here: nothing is decided by it.
    """

    @cached_property
    def _local(self) -> Fetcher:
        """Paths given to `check` are the caller's own: any of them may be read."""
        return Fetcher(self.settings.model_copy(update={"fetch_roots": (Path("/"),)}))

    def close(self) -> None:
        """End the decoding processes and the connections."""
        super().close()
        self._local.close()

    def _version(self, name: str, version: int) -> Policy:
        return self.catalogue.get(name, version)

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
        opened = ahead(threads, (lambda image: self._open(image, reference)), images, 4 * self.max_batch)
        with closing(opened):
            for item in opened:
                if item is None:  # a host takes its time; what is there is answered now
                    yield from self._finish(batch)
                    batch, frames = [], 0
                    continue
                batch.append(item)
                # A failure counts, too: otherwise a run of them would wait, and grow, until an image follows.
                frames += 1 if item.prepared is None else len(item.prepared.pixels)
                if frames >= self.max_batch:
                    yield from self._finish(batch)
                    batch, frames = [], 0
            yield from self._finish(batch)

    def _open(self, image: str | Path | bytes, policy: str) -> "_Checked":
        checked = _Checked(_check_event(image, policy))
        try:
            if isinstance(image, bytes):
                data = image
            elif isinstance(image, str) and is_url(image):
                data = self.fetcher.fetch(ImageReference(url=image))
            else:
                data = self._local.fetch(ImageReference.model_construct(path=str(Path(image).absolute())))
            checked.watch.lap("fetch")
            prepared = self.prepare(data, checked.event)
            if self.needs_slow_reading(prepared):
                prepared = self.read_slowly(data, prepared)
            checked.watch.note("decode", checked.watch.lap("decode") - prepared.signal_seconds)
            shadows = [
                spec for m in (Moment.PIXELS, Moment.SLOWLY) for spec in self.shadow_signals(prepared, m)
            ]
            checked.beside = self.look_on(data, shadows)
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
            yield self._verdict(item)

    def _embed_all(self, items: "list[_Checked]") -> None:
        """Embed images together; one by one where that fails, so that a failure is of one image alone."""
        if not items:
            return
        start = time.perf_counter()
        pixels = [item.prepared.pixels for item in items if item.prepared is not None]
        try:
            embeddings = self.embed(np.concatenate(pixels))
        except Exception as error:  # whatever a model library raises
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

    def _verdict(self, item: "_Checked") -> Verdict:
        if item.error is None:
            assert item.prepared is not None
            assert item.embeddings is not None
            # The lap also held the images before this one in the batch, and whoever reads the verdicts.
            item.watch.lap("embed")
            item.watch.note("embed", item.seconds)
            try:
                return self.judge(item.event, item.prepared, item.embeddings, item.watch, item.beside)
            except Exception as error:
                item.error = ours(error)
        return self.failed(item.event, item.error, item.watch)


@dataclass
class _Checked:
    """An image on its way through `check`."""

    event: Event
    watch: Stopwatch = field(default_factory=Stopwatch)
    prepared: Prepared | None = None
    beside: Readings = field(default_factory=dict)
    """What the shadows' signals say."""
    embeddings: Embeddings | None = None
    seconds: float = 0.0
    """That the model took for its batch."""
    error: ModeratorError | None = None


def _check_event(image: str | Path | bytes, policy: str) -> Event:
    """An event for an image that came past the queue: named after its path, so that verdicts can be told apart."""
    # A file name need not be UTF-8; a verdict has to be.
    name = "inline" if isinstance(image, bytes) else str(image).encode("utf-8", "replace").decode()
    # Constructed unchecked: a path may be longer than an event id, and nothing of this reaches Redis.
    reference = ImageReference.model_construct(path=name)
    return Event.model_construct(id=name, source=CHECK_SOURCE, policy=policy, image=reference, metadata={})
