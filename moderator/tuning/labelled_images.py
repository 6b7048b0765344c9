"""Labelled images as a worker sees them: the embeddings of their views, and the readings of a policy's signals.

Files go through the engine's own preparer and encoder, so an evaluation judges exactly what a worker judges.
"""

from collections.abc import Iterator, Mapping, Sequence, Set
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from moderator.encoders.encoder import Embeddings, Encoder
from moderator.engine.engine import Engine
from moderator.engine.resolver import PolicyResolver
from moderator.errors import LabelsInvalid, ModeratorError
from moderator.identity import Identity
from moderator.image_paths import list_images
from moderator.policies.catalogue import Selection
from moderator.policies.schema import Policy
from moderator.scoring.batch_decisions import ImageBlock
from moderator.settings import Settings
from moderator.signals.evaluator import Moment, due, refuse_failed
from moderator.signals.signal import Frame
from moderator.tuning.file_embedding import FileEmbedding, Progress, decoder_count, readings_of
from moderator.tuning.label_file import LabelledFile, categories_shown, read_label_file
from moderator.tuning.labelled_cache import EmbeddedFile, Reading
from moderator.view import rows_of


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
    variants: Embeddings | None = None
    """float32 [n, VARIANTS, dimension], embeddings to learn from; None: they were not asked for."""

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
            variants=None if self.variants is None else self.variants[chosen],
        )


@contextmanager
def open_engine(settings: Settings, encoder: Encoder | None = None) -> Iterator[Engine]:
    """Yield an engine for trying policies, drafts included: with as many decoding processes as a worker has.

    Raises:
        ModeratorError: as `Engine`.
    """
    resolver = PolicyResolver.from_settings(settings, drafts=True)
    processes = decoder_count(settings) if settings.decode == "processes" else 0
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
    variants: bool = False,
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
        variants: also embed variants of each image, which probes are learnt from.

    Raises:
        LabelsInvalid: the labels cannot be used, or no image could be judged.
        SignalFailed, ModelMismatch: a signal of a policy cannot be used here.
    """
    categories = {name for policy in policies for name in policy.categories}
    labelled = categories_shown(read_label_file(source), categories, mapping, ignored)
    return embed_labelled(labelled, engine, policies, progress=progress, variants=variants)


def load_unlabelled(
    source: Path, engine: Engine, policies: Sequence[Policy], *, progress: Progress = lambda done, total: None
) -> LabelledImages:
    """Read the images below a folder, or of a CSV file as `load_labelled` reads it; labels need not be categories.

    They are the column `label`, as written.

    Raises:
        ImageNotFound: there is no such folder.
        LabelsInvalid, SignalFailed, ModelMismatch: as `load_labelled`.
    """
    if source.is_dir():
        files = [LabelledFile(Path(name), frozenset()) for name in list_images(source)]
    else:
        files = [
            replace(file, columns={**file.columns, "label": "; ".join(sorted(file.labels))})
            for file in read_label_file(source)
        ]
    if not files:
        raise LabelsInvalid(
            f"{source}: no image in it; give a folder with some, or a CSV file that names some"
        )
    return embed_labelled([(file, frozenset()) for file in files], engine, policies, progress=progress)


def embed_labelled(
    labelled: Sequence[tuple[LabelledFile, frozenset[str]]],
    engine: Engine,
    policies: Sequence[Policy],
    *,
    progress: Progress = lambda done, total: None,
    variants: bool = False,
) -> LabelledImages:
    """Embed files of which it is known what they show; see `load_labelled`."""
    for policy in policies:
        for spec in policy.signals:
            engine.signals.make(spec)  # fail before the long work
    results = FileEmbedding(engine, policies, variants=variants).run([file for file, _ in labelled], progress)
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
        variants=np.stack([one.variants for one in embedded if one.variants is not None])
        if variants
        else None,
    )


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
        readings.append({**file.readings, **readings_of(outcomes), **opinions})
    scores, unsure = {}, {}
    for spec in policy.signals:
        scores[spec.name] = np.array([one[spec.key].score for one in readings], dtype=np.float64)
        unsure[spec.name] = np.array([one[spec.key].unsure for one in readings], dtype=np.bool_)
    return replace(block, signals=scores, unsure=unsure)


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
