"""Embeddings of images seen before, by the SHA-256 of their bytes: a repeated upload costs no model run."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ValidationError

from moderator.queue import keys
from moderator.queue.commands import Command
from moderator.queue.executors import Executor
from moderator.verdicts import ImageFacts
from moderator.view import View, ViewPlan


@dataclass(frozen=True, eq=False)
class SeenImage:
    """The cached facts and embeddings of an image."""

    facts: ImageFacts
    views: tuple[View, ...]
    embeddings: NDArray[np.float32]
    """float32 [views, dimension]"""


class _Described(BaseModel):
    """What is kept beside the embeddings."""

    facts: ImageFacts
    views: tuple[View, ...]


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

    def get(self, sha256: str, plan: ViewPlan) -> SeenImage | None:
        """Return the cached image with this digest (hexadecimal) in these views, or None; ignore a corrupt entry."""
        name = self._name(sha256, plan)
        script_keys = [keys.EMBEDDINGS, keys.EMBEDDING_PREFIX + name]
        described, vectors = self._executor.run(Command("recall_embedding", script_keys, [name], tuple))
        if described is None or vectors is None:
            return None
        try:
            read = _Described.model_validate_json(described)
            rows = np.frombuffer(vectors, dtype=np.float32).reshape(len(read.views), self._dimension)
        except (ValidationError, ValueError):
            return None
        if read.facts.sha256 != sha256 or not len(rows) or not np.isfinite(rows).all():
            return None
        return SeenImage(read.facts, read.views, rows)

    def put(self, image: SeenImage, plan: ViewPlan) -> None:
        """Keep an image's embeddings in the views of a plan."""
        name = self._name(image.facts.sha256, plan)
        script_keys = [keys.EMBEDDINGS, keys.EMBEDDING_PREFIX + name]
        vectors = np.ascontiguousarray(image.embeddings, dtype=np.float32).tobytes()
        described = _Described(facts=image.facts, views=image.views).model_dump_json()
        args = [keys.EMBEDDING_PREFIX, name, described, vectors, self._size]
        self._executor.run(Command("keep_embedding", script_keys, args, lambda answer: None))

    def _name(self, sha256: str, plan: ViewPlan) -> str:
        return f"{self._space}:{plan}:{sha256}"
