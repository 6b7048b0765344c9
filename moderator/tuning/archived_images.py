"""Turn evidence of the archive into images that a policy can decide. Nothing is read, fetched or guessed."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import TypeAdapter

from moderator.errors import SegmentBroken
from moderator.identity import Identity
from moderator.policies.schema import Policy
from moderator.scoring.batch_decisions import CHUNK_ROWS, ImageBlock
from moderator.scoring.rules import Floats
from moderator.scoring.thresholds import CompiledPolicy
from moderator.signals.evaluator import Moment, Signals, due
from moderator.signals.signal import Frame, Signal
from moderator.signals.signal_calls import Specification, read_frames
from moderator.view import View

if TYPE_CHECKING:
    from moderator.archive.segment_file import EvidenceBlock

_VIEWS = TypeAdapter(tuple[View, ...])
#: What the description of an embedding has if its rows are not all whole frames.
_HAS_VIEWS = '"views"'


@dataclass(frozen=True, eq=False)
class ArchivePolicy:
    """A policy that decides on evidence, with everything that it needs for that."""

    compiled: CompiledPolicy
    identity: Identity
    """Of the encoder whose embeddings it reads."""
    readers: Mapping[str, Signal]
    """The signals that use the embedding, by name."""
    kept: Mapping[str, str]
    """Keys of the signals that used the image itself, by name: their readings are in the archive."""
    opinions: Mapping[str, str]
    """The same for second opinions."""

    @property
    def policy(self) -> Policy:
        """The policy."""
        return self.compiled.policy


def archive_policy(compiled: CompiledPolicy, identity: Identity, signals: Signals) -> ArchivePolicy:
    """Return a policy with the signals that it reads from embeddings.

    Raises:
        SignalFailed, ModelMismatch: one of these signals cannot be created.
    """

    def named(*moments: Moment) -> list[tuple[str, Specification]]:
        keys = {spec.key for moment in moments for spec in due([compiled.policy], moment)}
        return [(spec.name, spec) for spec in compiled.policy.signals if spec.key in keys]

    return ArchivePolicy(
        compiled,
        identity,
        {name: signals.make(spec) for name, spec in named(Moment.EMBEDDING)},
        {name: spec.key for name, spec in named(Moment.PIXELS, Moment.SLOWLY)},
        {name: spec.key for name, spec in named(Moment.REVIEW)},
    )


def image_starts(block: "EvidenceBlock") -> "np.ndarray[Any, np.dtype[np.int64]]":
    """Return the rows at which the images of a block begin, and its length: int64 [n + 1]."""
    return np.append(np.flatnonzero(block.frames == 0), len(block.frames))


def image_block(policy: ArchivePolicy, block: "EvidenceBlock") -> ImageBlock:
    """Return the images of a block, with the readings of the policy's signals.

    A second opinion counts as not asked. A reading that failed counts as not read.
    """
    starts = image_starts(block)
    firsts = starts[:-1]
    signals = {name: np.zeros(len(firsts)) for name in policy.opinions}
    unsure = {}
    if policy.kept:
        texts = [block.readings[row] for row in firsts.tolist()]
        for name, key in policy.kept.items():
            signals[name], unsure[name] = _kept(texts, key)
    for name, reader in policy.readers.items():
        signals[name], unsure[name] = _read(reader, block.embeddings, starts)
    return ImageBlock(block.embeddings, starts, _views(block), signals, unsure, frozenset(policy.opinions))


def _kept(texts: Sequence[str | None], key: str) -> "tuple[Any, Any]":
    """Return score and doubt of a signal in each image's readings."""
    known: dict[str | None, tuple[float, bool]] = {}
    for text in set(texts):
        reading = json.loads(text or "{}").get(key) or {}
        known[text] = (float(reading.get("score", np.nan)), bool(reading.get("unsure", False)))
    found = [known[text] for text in texts]
    return np.array([score for score, _ in found]), np.array([doubt for _, doubt in found])


def _read(reader: Signal, embeddings: Any, starts: Any) -> "tuple[Any, Any]":
    """Read a signal from embeddings: the highest score of the frames of an image counts. NaN: it cannot."""
    together = getattr(reader, "score_rows", None)
    if together is not None:
        rows: Floats = np.concatenate(
            [
                together(embeddings[at : at + CHUNK_ROWS].astype(np.float32))
                for at in range(0, len(embeddings), CHUNK_ROWS)
            ]
        )
        return np.maximum.reduceat(rows, starts[:-1]).astype(np.float64), np.zeros(len(starts) - 1, np.bool_)
    found = [
        read_frames(reader, [Frame(embedding=row) for row in embeddings[start:end].astype(np.float32)])
        for start, end in pairwise(starts)
    ]
    return np.array([one.score for one in found]), np.array([one.unsure for one in found])


def _views(block: "EvidenceBlock") -> list[View] | None:
    """Return what each row shows; None: all are whole frames."""
    described = {text for text in set(block.tensors) if text is not None and _HAS_VIEWS in text}
    if not described:
        return None
    views: list[View] = []
    for start, end in pairwise(image_starts(block).tolist()):
        text = block.tensors[start]
        if text in described:
            views += _VIEWS.validate_python(json.loads(text)["views"])
        else:
            views += [View("whole", frame, (0, 0, 0, 0)) for frame in range(end - start)]
        if len(views) != end:
            raise SegmentBroken(
                f"verdict {block.verdict_ids[start]} has another number of views than of embeddings"
            )
    return views
