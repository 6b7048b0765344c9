"""Embed files in the views that policies judge, and read the signals that use their pixels, as a worker does."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from hashlib import sha256

import numpy as np

from moderator.bounded_map import bounded_map
from moderator.encoders.encoder import Embeddings, Pixels
from moderator.engine.engine import Engine
from moderator.engine.preparer import Prepared
from moderator.errors import EmbeddingInvalid, ModeratorError, ours
from moderator.fetching.fetcher import TrustedFetcher
from moderator.policies.catalogue import Selection
from moderator.policies.schema import Policy
from moderator.policies.view_options import ViewOptions
from moderator.settings import Settings
from moderator.signals.evaluator import Moment, Readings, due
from moderator.signals.signal import SignalResult
from moderator.tuning.label_file import LabelledFile
from moderator.tuning.labelled_cache import EmbeddedFile, LabelledCache, Reading
from moderator.tuning.variants import VARIANTS, make_variants

#: Called with the number of images that are done, and of all.
Progress = Callable[[int, int], None]


class FileEmbedding:
    """Embeds files in the widest views of some policies, and reads their signals that use pixels.

    Args:
        engine: prepares and embeds.
        policies: see above.
        variants: also embed the variants of each first view.
    """

    def __init__(self, engine: Engine, policies: Sequence[Policy], *, variants: bool = False) -> None:
        self._engine, self._variants = engine, VARIANTS if variants else 0
        plans = [engine.preparer.plan_of(Selection(policy)) for policy in policies]
        specs = {spec.key: spec for policy in policies for spec in policy.signals}
        views = ViewOptions(most=max(plan.most for plan in plans), turned=any(plan.turned for plan in plans))
        together = policies[0].model_copy(update={"views": views, "signals": tuple(specs.values())})
        self._selection = Selection(together)
        self._signals = [
            spec.key for moment in (Moment.PIXELS, Moment.SLOWLY) for spec in due([together], moment)
        ]
        space = f"{engine.embedding_space}-{engine.preparer.plan_of(self._selection)}"
        self._cache = LabelledCache(engine.settings.cache, space, engine.encoder.dimension, self._variants)

    def run(self, files: Sequence[LabelledFile], progress: Progress) -> "list[EmbeddedFile | ModeratorError]":
        """Return what was computed or found of each file, or its error, in order."""
        threads = decoder_count(self._engine.settings)
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
                for batch in _batches(prepared, self._engine.max_batch, self._variants):
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
            rows = self._engine.embed(np.concatenate([self._pixels(one) for _, one in ready]))
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
        ends = np.cumsum([len(one.pixels) + self._variants for _, one in ready])
        parts = np.split(rows, ends[:-1])
        embedded = [(row, one, _embedded(one, part)) for (row, one), part in zip(ready, parts, strict=True)]
        self._cache.keep({one.facts.sha256: file for _, one, file in embedded})
        yield from ((row, file) for row, _, file in embedded)

    def _pixels(self, prepared: Prepared) -> Pixels:
        """Return what is embedded of an image: its views, then the variants."""
        if not self._variants:
            return prepared.pixels
        return np.concatenate([prepared.pixels, make_variants(prepared.pixels[0])])


def _batches(
    prepared: "Iterator[tuple[int, Prepared | ModeratorError] | None]", most: int, variants: int
) -> "Iterator[list[tuple[int, Prepared | ModeratorError]]]":
    """Group images until they have as many views as one forward pass takes."""
    batch: list[tuple[int, Prepared | ModeratorError]] = []
    views = 0
    for item in prepared:
        if item is None:  # the next image is slow
            continue
        batch.append(item)
        views += len(item[1].pixels) + variants if isinstance(item[1], Prepared) else 1
        if views >= most:
            yield batch
            batch, views = [], 0
    if batch:
        yield batch


def _embedded(prepared: Prepared, embeddings: Embeddings) -> EmbeddedFile:
    readings = readings_of(prepared.readings)  # all of them: a failed one fails the image
    views, variants = np.split(embeddings, [len(prepared.views)])
    unseen = prepared.facts.frames_unseen > 0
    return EmbeddedFile(prepared.views, views, unseen, readings, variants if len(variants) else None)


def readings_of(outcomes: Readings) -> dict[str, Reading]:
    """Return the readings that succeeded."""
    return {
        key: Reading(one.score, one.unsure) for key, one in outcomes.items() if isinstance(one, SignalResult)
    }


def decoder_count(settings: Settings) -> int:
    """Return the number of files that are decoded at once."""
    return settings.threads or os.cpu_count() or 1
