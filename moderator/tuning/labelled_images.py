"""Labelled images as a worker sees them: the embeddings of their views, and the readings of a policy's signals.

Files go through the engine's own preparer and encoder, so an evaluation judges exactly what a worker judges.
"""

import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from moderator.bounded_map import bounded_map
from moderator.encoders.encoder import Embeddings, Encoder
from moderator.engine.engine import Engine
from moderator.engine.preparer import Prepared
from moderator.engine.resolver import PolicyResolver
from moderator.errors import EmbeddingInvalid, LabelsInvalid, ModeratorError, ours
from moderator.fetching.fetcher import TrustedFetcher
from moderator.identity import Identity
from moderator.policies.catalogue import Selection
from moderator.policies.schema import Policy
from moderator.policies.view_options import ViewOptions
from moderator.scoring.batch_decisions import ImageBlock
from moderator.settings import Settings
from moderator.signals.evaluator import Moment, Readings, due, refuse_failed
from moderator.signals.signal import Frame, SignalResult
from moderator.tuning.label_file import LabelledFile, categories_shown, read_label_file
from moderator.tuning.labelled_cache import EmbeddedFile, LabelledCache, Reading
from moderator.view import rows_of

log = logging.getLogger(__name__)

#: Called with the number of images that are done, and of all.
Progress = Callable[[int, int], None]


@dataclass(frozen=True, eq=False)
class LabelledImages:
    """n images with what they show, ready to be judged by any version of a policy on the same encoder."""

    paths: tuple[Path, ...]
    shows: tuple[frozenset[str], ...]
    """The categories that each image shows; none: it is safe."""
    columns: Mapping[str, tuple[str, ...]]
    """The other columns of the CSV file, for slices."""
    block: ImageBlock
    """Embeddings of all views that any of the policies judges, and the readings of the first one's signals."""
    identity: Identity
    """That of the encoder."""
    failed: tuple[tuple[Path, str], ...] = ()
    """Images that could not be judged, each with the reason. They are in no other field."""
    unseen: NDArray[np.bool_] | None = None
    """[n] whether a part of the image was not judged, so that it goes to review at least; None: of no image."""
    others: Mapping[str, ImageBlock] = field(default_factory=dict)
    """By digest, the blocks of the further policies, with the readings of their signals."""

    def __len__(self) -> int:
        return len(self.paths)

    def block_for(self, policy: Policy) -> ImageBlock:
        """Return what a policy judges: one of those loaded, or else one with the signals of the first of them."""
        return self.others.get(policy.digest, self.block)

    def truth(self, category: str) -> NDArray[np.bool_]:
        """Return whether each image shows a category: bool [n]."""
        return np.array([category in shown for shown in self.shows], dtype=np.bool_)

    def subset(self, rows: "NDArray[np.integer] | NDArray[np.bool_] | Sequence[int]") -> "LabelledImages":
        """Return some of the images.

        Args:
            rows: their numbers in the wanted order, or bool [n].
        """
        chosen = np.arange(len(self))[np.asarray(rows) if len(rows) else slice(0)]
        return replace(
            self,
            paths=tuple(self.paths[row] for row in chosen),
            shows=tuple(self.shows[row] for row in chosen),
            columns={name: tuple(values[row] for row in chosen) for name, values in self.columns.items()},
            block=_subset(self.block, chosen),
            unseen=None if self.unseen is None else self.unseen[chosen],
            others={digest: _subset(block, chosen) for digest, block in self.others.items()},
        )


@contextmanager
def open_engine(settings: Settings, encoder: Encoder | None = None) -> Iterator[Engine]:
    """Yield an engine for trying policies, drafts included: with as many decoding processes as a worker has.

    Raises:
        ModeratorError: as `Engine`.
    """
    resolver = PolicyResolver.from_settings(settings, drafts=True)
    processes = _decoders(settings) if settings.decode == "processes" else 0
    with closing(Engine(settings, encoder=encoder, resolver=resolver, processes=processes)) as engine:
        yield engine


def load_labelled(
    source: Path,
    engine: Engine,
    policies: Sequence[Policy],
    *,
    progress: Progress = lambda done, total: None,
    mapping: Mapping[str, str] | None = None,
    ignored: Set[str] = frozenset(),
) -> LabelledImages:
    """Read labelled images and embed them in the views that policies judge; from the cache what is kept there.

    Signals that give a second opinion are not asked: they read 0, as for an image that needs none.

    Args:
        source: a CSV file or a folder; see `read_label_file`.
        engine: prepares, embeds and reads signals; see `open_engine`.
        policies: at least one. Labels have to be categories of one of them.
        progress: called as images are done.
        mapping: from a label to a category, or to `safe`.
        ignored: labels that say nothing; see `categories_shown`.

    Raises:
        LabelsInvalid: the labels cannot be used, or no image could be judged.
        SignalFailed, ModelMismatch: a signal of a policy cannot be used here.
    """
    categories = {name for policy in policies for name in policy.categories}
    labelled = categories_shown(read_label_file(source), categories, mapping, ignored)
    for policy in policies:
        for spec in policy.signals:
            engine.signals.make(spec)  # fail before the long work
    results = _Loading(engine, policies).run([file for file, _ in labelled], progress)
    rows = [row for row, one in enumerate(results) if isinstance(one, EmbeddedFile)]
    embedded = [one for one in results if isinstance(one, EmbeddedFile)]
    failed = tuple(
        (labelled[row][0].path, f"{type(one).__name__}: {one}")
        for row, one in enumerate(results)
        if isinstance(one, ModeratorError)
    )
    if not embedded:
        raise LabelsInvalid(f"none of the {len(failed)} images could be judged; the first: {failed[0][1]}")
    whole = _block(embedded)
    blocks = [_with_readings(engine, policy, embedded, whole) for policy in policies]
    names = dict.fromkeys(name for row in rows for name in labelled[row][0].columns)
    return LabelledImages(
        paths=tuple(labelled[row][0].path for row in rows),
        shows=tuple(labelled[row][1] for row in rows),
        columns={name: tuple(labelled[row][0].columns.get(name, "") for row in rows) for name in names},
        block=blocks[0],
        identity=engine.encoder.identity,
        failed=failed,
        unseen=np.array([one.unseen for one in embedded], dtype=np.bool_),
        others={policy.digest: block for policy, block in zip(policies[1:], blocks[1:], strict=True)},
    )


class _Loading:
    """Embeds files in the widest views of some policies, and reads their signals that use pixels."""

    def __init__(self, engine: Engine, policies: Sequence[Policy]) -> None:
        self._engine = engine
        plans = [engine.preparer.plan_of(Selection(policy)) for policy in policies]
        specs = {spec.key: spec for policy in policies for spec in policy.signals}
        views = ViewOptions(most=max(plan.most for plan in plans), turned=any(plan.turned for plan in plans))
        together = policies[0].model_copy(update={"views": views, "signals": tuple(specs.values())})
        self._selection = Selection(together)
        self._signals = [
            spec.key for moment in (Moment.PIXELS, Moment.SLOWLY) for spec in due([together], moment)
        ]
        space = f"{engine.embedding_space}-{engine.preparer.plan_of(self._selection)}"
        self._cache = LabelledCache(engine.settings.cache, space, engine.encoder.dimension)

    def run(self, files: Sequence[LabelledFile], progress: Progress) -> "list[EmbeddedFile | ModeratorError]":
        """Return what was computed or found of each file, or its error, in order."""
        threads = _decoders(self._engine.settings)
        with closing(TrustedFetcher(self._engine.settings)) as fetcher:

            def digest(file: LabelledFile) -> str | ModeratorError:
                try:
                    return sha256(fetcher.fetch(file.path)).hexdigest()
                except Exception as error:
                    return ours(error)

            def prepare(row: int) -> tuple[int, Prepared | ModeratorError]:
                try:
                    data = fetcher.fetch(files[row].path)
                    prepared = self._engine.preparer.prepare(data, self._selection)
                    if prepared.needs_slow_reading:
                        prepared = self._engine.preparer.read_slowly(data, prepared)
                    return row, prepared
                except Exception as error:
                    return row, ours(error)

            hashed = [one for one in bounded_map(threads, digest, files, 4 * threads) if one is not None]
            known = self._cache.find({one for one in hashed if isinstance(one, str)}, self._signals)
            results: list[EmbeddedFile | ModeratorError | None] = [
                known.get(one) if isinstance(one, str) else one for one in hashed
            ]
            missing = [row for row, one in enumerate(results) if one is None]
            done = len(files) - len(missing)
            progress(done, len(files))
            prepared = bounded_map(threads, prepare, missing, 2 * self._engine.max_batch)
            with closing(prepared):
                for batch in _batches(prepared, self._engine.max_batch):
                    for row, outcome in self._embed(batch):
                        results[row] = outcome
                    done += len(batch)
                    progress(done, len(files))
        return [one for one in results if one is not None]

    def _embed(
        self, batch: "list[tuple[int, Prepared | ModeratorError]]"
    ) -> "Iterator[tuple[int, EmbeddedFile | ModeratorError]]":
        """Embed images together; if that fails, one by one. Keep the results."""
        ready = [(row, one) for row, one in batch if isinstance(one, Prepared)]
        yield from ((row, one) for row, one in batch if isinstance(one, ModeratorError))
        if not ready:
            return
        try:
            rows = self._engine.embed(np.concatenate([one.pixels for _, one in ready]))
            if not np.isfinite(rows).all() or not rows.any(axis=1).all():
                raise EmbeddingInvalid(
                    "the model returned NaN, infinity or zero; try MODERATOR_DTYPE=float32"
                )
        except Exception as error:  # model libraries raise anything
            if len(ready) == 1:
                yield ready[0][0], ours(error)
                return
            for row, one in ready:
                yield from self._embed([(row, one)])
            return
        ends = np.cumsum([len(one.pixels) for _, one in ready])
        parts = np.split(rows, ends[:-1])
        embedded = [(row, one, _embedded(one, part)) for (row, one), part in zip(ready, parts, strict=True)]
        self._cache.keep({one.facts.sha256: file for _, one, file in embedded})
        yield from ((row, file) for row, _, file in embedded)


def _batches(
    prepared: "Iterator[tuple[int, Prepared | ModeratorError] | None]", most: int
) -> "Iterator[list[tuple[int, Prepared | ModeratorError]]]":
    """Group images until they have as many views as one forward pass takes."""
    batch: list[tuple[int, Prepared | ModeratorError]] = []
    views = 0
    for item in prepared:
        if item is None:  # the next image is slow
            continue
        batch.append(item)
        views += len(item[1].pixels) if isinstance(item[1], Prepared) else 1
        if views >= most:
            yield batch
            batch, views = [], 0
    if batch:
        yield batch


def _embedded(prepared: Prepared, embeddings: Embeddings) -> EmbeddedFile:
    readings = _readings(prepared.readings)  # all of them: a failed one fails the image
    return EmbeddedFile(prepared.views, embeddings, prepared.facts.frames_unseen > 0, readings)


def _block(files: Sequence[EmbeddedFile]) -> ImageBlock:
    return ImageBlock(
        embeddings=np.concatenate([file.embeddings for file in files]),
        starts=_starts([len(file.views) for file in files]),
        views=[view for file in files for view in file.views],
    )


def _with_readings(
    engine: Engine, policy: Policy, files: Sequence[EmbeddedFile], block: ImageBlock
) -> ImageBlock:
    """Return the block with the readings of a policy's signals.

    Raises:
        SignalFailed, ModelMismatch: a signal that uses the embedding cannot be read.
    """
    if not policy.signals:
        return block
    plan = engine.preparer.plan_of(Selection(policy))
    embedding_specs = due([policy], Moment.EMBEDDING)
    opinions = {spec.key: Reading(0.0) for spec in due([policy], Moment.REVIEW)}
    readings = []
    for file in files:
        frames = [Frame(embedding=file.embeddings[row]) for row in rows_of(plan, file.views)]
        outcomes = engine.signals.read(embedding_specs, frames)
        refuse_failed(policy, outcomes)
        readings.append({**file.readings, **_readings(outcomes), **opinions})
    scores, unsure = {}, {}
    for spec in policy.signals:
        scores[spec.name] = np.array([one[spec.key].score for one in readings], dtype=np.float64)
        unsure[spec.name] = np.array([one[spec.key].unsure for one in readings], dtype=np.bool_)
    return replace(block, signals=scores, unsure=unsure)


def _readings(outcomes: Readings) -> dict[str, Reading]:
    """Return the readings that succeeded."""
    return {
        key: Reading(one.score, one.unsure) for key, one in outcomes.items() if isinstance(one, SignalResult)
    }


def _starts(lengths: Sequence[int]) -> NDArray[np.int64]:
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)


def _subset(block: ImageBlock, images: NDArray[np.int64]) -> ImageBlock:
    spans = [np.arange(block.starts[image], block.starts[image + 1]) for image in images]
    rows = np.concatenate(spans) if spans else np.empty(0, dtype=np.int64)
    return ImageBlock(
        embeddings=block.embeddings[rows],
        starts=_starts([len(span) for span in spans]),
        views=None if block.views is None else [block.views[row] for row in rows],
        signals={name: values[images] for name, values in block.signals.items()},
        unsure={name: values[images] for name, values in block.unsure.items()},
    )


def _decoders(settings: Settings) -> int:
    return settings.threads or os.cpu_count() or 1
