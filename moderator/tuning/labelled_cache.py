"""Keep embeddings of labelled images and readings of their signals on disk, so that evaluating again is quick."""

import json
import logging
import sqlite3
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import closing
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from moderator.encoders.encoder import Embeddings
from moderator.view import View

log = logging.getLogger(__name__)
T = TypeVar("T")

CACHE_FILE = "labelled-images.sqlite"
_BUSY_SECONDS = 30.0
_TABLES = """
CREATE TABLE IF NOT EXISTS images (
    space TEXT, sha256 TEXT, views TEXT, unseen INTEGER, embeddings BLOB, PRIMARY KEY (space, sha256)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS readings (
    signal TEXT, sha256 TEXT, score REAL, unsure INTEGER, PRIMARY KEY (signal, sha256)
) WITHOUT ROWID;
"""


@dataclass(frozen=True)
class Reading:
    """What a signal read in an image."""

    score: float
    unsure: bool = False


@dataclass(frozen=True, eq=False)
class EmbeddedFile:
    """What judging needs of an image file."""

    views: tuple[View, ...]
    embeddings: Embeddings
    """float32 [views, dimension]"""
    unseen: bool = False
    """Whether a part of the file was not judged: it then goes to review at least."""
    readings: Mapping[str, Reading] = field(default_factory=dict)
    """By the key of the signal."""
    variants: Embeddings | None = None
    """float32 [VARIANTS, dimension], of the first view's variants; None: they were not asked for."""


class LabelledCache:
    """A file of embeddings and readings. If it cannot be used, nothing is found and nothing kept, with a warning.

    Args:
        folder: the cache folder; created when needed.
        space: identity of what embeddings depend on besides the file: encoder, precision, limits, views.
        dimension: of the embeddings.
        variants: the number of variants that are kept with each file; 0: none.
    """

    def __init__(self, folder: Path, space: str, dimension: int, variants: int = 0) -> None:
        self._path = folder / CACHE_FILE
        self._space = f"{space}-variants" if variants else space
        self._dimension, self._variants = dimension, variants

    def find(self, digests: Iterable[str], signals: Collection[str]) -> dict[str, EmbeddedFile]:
        """Return by digest what is kept of files, of which readings of all these signals are kept, too.

        Args:
            digests: SHA-256 of each file.
            signals: keys of signals.
        """

        def step(database: sqlite3.Connection) -> dict[str, EmbeddedFile]:
            found = {digest: self._find(database, digest, signals) for digest in digests}
            return {digest: file for digest, file in found.items() if file is not None}

        return self._run(step) or {}

    def keep(self, files: Mapping[str, EmbeddedFile]) -> None:
        """Keep what was computed of files, by digest."""

        def step(database: sqlite3.Connection) -> None:
            for digest, file in files.items():
                self._keep(database, digest, file)

        self._run(step)

    def _find(self, database: sqlite3.Connection, digest: str, signals: Iterable[str]) -> EmbeddedFile | None:
        row = database.execute(
            "SELECT views, unseen, embeddings FROM images WHERE space = ? AND sha256 = ?",
            (self._space, digest),
        ).fetchone()
        if row is None:
            return None
        views = tuple(_view(one) for one in json.loads(row[0]))
        embeddings = np.frombuffer(row[2], dtype=np.float32)
        if not views or len(embeddings) != (len(views) + self._variants) * self._dimension:
            return None
        embeddings = embeddings.reshape(-1, self._dimension)
        readings = {}
        for signal in signals:
            found = database.execute(
                "SELECT score, unsure FROM readings WHERE signal = ? AND sha256 = ?",
                (_short(signal), digest),
            ).fetchone()
            if found is None:
                return None
            readings[signal] = Reading(float(found[0]), bool(found[1]))
        variants = embeddings[len(views) :] if self._variants else None
        return EmbeddedFile(views, embeddings[: len(views)], bool(row[1]), readings, variants)

    def _keep(self, database: sqlite3.Connection, digest: str, file: EmbeddedFile) -> None:
        views = json.dumps([asdict(view) for view in file.views])
        parts = [file.embeddings, *([] if file.variants is None else [file.variants])]
        embeddings = np.concatenate(parts).astype(np.float32).tobytes()
        database.execute(
            "INSERT OR REPLACE INTO images VALUES (?, ?, ?, ?, ?)",
            (self._space, digest, views, file.unseen, embeddings),
        )
        database.executemany(
            "INSERT OR REPLACE INTO readings VALUES (?, ?, ?, ?)",
            [(_short(key), digest, one.score, one.unsure) for key, one in file.readings.items()],
        )

    def _run(self, step: Callable[[sqlite3.Connection], T]) -> T | None:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with closing(sqlite3.connect(self._path, timeout=_BUSY_SECONDS)) as database, database:
                database.executescript(_TABLES)
                # It can be computed again: a power cut may cost it, but an evaluation does not wait for the disk.
                database.execute("PRAGMA synchronous = OFF")
                return step(database)
        except (sqlite3.Error, OSError, ValueError, TypeError) as error:
            log.warning(
                "%s cannot be used (%s); remove it, or images are embedded each time", self._path, error
            )
            return None


def _view(record: Mapping[str, Any]) -> View:
    x, y, width, height = record["box"]
    return View(str(record["name"]), int(record["frame"]), (x, y, width, height), int(record["turn"]))


def _short(key: str) -> str:
    return sha256(key.encode()).hexdigest()
