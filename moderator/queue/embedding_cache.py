"""Embeddings of images seen before, by the SHA-256 of their bytes: a repeated upload costs no model run."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from moderator.queue import keys
from moderator.queue.commands import Command
from moderator.queue.executors import Executor
from moderator.verdicts import ImageFacts


@dataclass(frozen=True, eq=False)
class SeenImage:
    """The cached facts and embeddings of an image."""

    facts: ImageFacts
    embeddings: NDArray[np.float32]
    """float32 [renderings of frames, dimension]"""


class EmbeddingCache:
    """A bounded cache in one Redis that evicts the least recently used image. Thread-safe.

    Args:
        executor: runs its commands.
        space: names everything besides the bytes that an embedding depends on; images of another space are not found.
        dimension: of an embedding.
        size: most images kept, over all spaces.
    """

    def __init__(self, executor: Executor, space: str, dimension: int, size: int) -> None:
        self._space = space
        self._dimension = dimension
        self._size = size
        self._executor = executor

    def get(self, sha256: str) -> SeenImage | None:
        """Return the cached image with this digest (hexadecimal), or None; a corrupt entry is ignored."""
        name = self._name(sha256)
        script_keys = [keys.EMBEDDINGS, keys.EMBEDDING_PREFIX + name]
        facts, vectors = self._executor.run(Command("recall_embedding", script_keys, [name], tuple))
        if facts is None or vectors is None:
            return None
        try:
            read = ImageFacts.model_validate_json(facts)
            rows = np.frombuffer(vectors, dtype=np.float32).reshape(-1, self._dimension)
        except (ValidationError, ValueError):
            return None
        whole = read.sha256 == sha256 and len(rows) > 0 and np.isfinite(rows).all()
        return SeenImage(read, rows) if whole else None

    def put(self, facts: ImageFacts, embeddings: NDArray[np.float32]) -> None:
        """Keep an image's embeddings, float32 [renderings of frames, dimension]."""
        name = self._name(facts.sha256)
        script_keys = [keys.EMBEDDINGS, keys.EMBEDDING_PREFIX + name]
        vectors = np.ascontiguousarray(embeddings, dtype=np.float32).tobytes()
        args = [keys.EMBEDDING_PREFIX, name, facts.model_dump_json(), vectors, self._size]
        self._executor.run(Command("keep_embedding", script_keys, args, lambda answer: None))

    def _name(self, sha256: str) -> str:
        return f"{self._space}:{sha256}"
