"""Judges rows of images where they are, with an engine of its own: what Ray runs in each of its workers."""

import json
import os
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from moderator.backfill.backfill_items import Item
from moderator.backfill.pacing import Pace
from moderator.backfill.result_rows import Row, result_row
from moderator.encoders.encoder import Encoder
from moderator.engine.direct_pipeline import DirectPipeline
from moderator.engine.engine import Engine
from moderator.events import Event
from moderator.fetching.fetcher import Fetcher
from moderator.fetching.sources.trusted_file import TrustedFileSource
from moderator.settings import Settings


class RowJudge:
    """Judges images as a worker of the queue does, without a queue.

    Args:
        settings: those of the run.
        policy: `NAME` or `NAME@VERSION`; None: the default policy.
        rate: most images per second that this object judges; None: as many as possible.
        encoder: default: the one that the settings name.

    Raises:
        EncoderUnknown, RuntimeMissing, WeightsInvalid, SettingsError: the encoder cannot be loaded.
        PolicyError: no policy can be used.
        DecoderUnavailable: the decoding processes do not start.
    """

    def __init__(
        self, settings: Settings, policy: str | None, rate: float | None, encoder: Encoder | None = None
    ) -> None:
        decoders = settings.threads or os.cpu_count() or 1
        self._engine = Engine(
            settings, encoder=encoder, processes=decoders if settings.decode == "processes" else 0
        )
        self._engine.resolver.select(policy or settings.default_policy, "")  # a wrong name ends the run
        self._pipeline = DirectPipeline(self._engine)
        self._fetcher = Fetcher.from_settings(settings)
        self._files = TrustedFileSource()
        self._max_bytes = settings.max_bytes
        self._policy = policy
        self._pace = Pace(rate)

    def close(self) -> None:
        """End the decoding processes and the connections."""
        self._engine.close()
        self._fetcher.close()

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Judge a batch of Ray Data; see `to_batch` and `from_batch`."""
        columns = (batch[name].tolist() for name in ("number", "name", "bulk", "place"))
        items = [Item(*values) for values in zip(*columns, strict=True)]
        rows = [json.dumps(row) for row in self.judge(items)]
        return {"number": batch["number"], "row": np.array(rows, dtype=object)}

    def judge(self, items: Sequence[Item]) -> list[Row]:
        """Return the rows of images, in order."""
        self._pace.wait()
        self._pace.note(len(items))
        events = [item.event(self._policy) for item in items]
        verdicts = self._pipeline.judge_each((event, partial(self._fetch, event)) for event in events)
        return [result_row(item.name, verdict) for item, verdict in zip(items, verdicts, strict=True)]

    def _fetch(self, event: Event) -> bytes:
        if event.image.path is not None:  # of a folder that the user named: any file may be read
            return self._files.fetch(event.image.path, self._max_bytes)
        return self._fetcher.fetch(event.image)


def to_batch(items: Sequence[Item]) -> dict[str, list[Any]]:
    """Return images as the columns of a batch."""
    return {
        "number": [item.number for item in items],
        "name": [item.name for item in items],
        "bulk": [item.bulk for item in items],
        "place": [item.place for item in items],
    }


def from_batch(batch: dict[str, list[Any]]) -> list[tuple[int, Row]]:
    """Return the numbers and rows of a judged batch."""
    return [(number, json.loads(row)) for number, row in zip(batch["number"], batch["row"], strict=True)]
