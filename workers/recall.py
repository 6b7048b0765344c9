"""Spare an image that comes again its decoding and the model."""

from collections.abc import Sequence
from hashlib import sha256

from moderator.engine.engine import Engine
from moderator.engine.preparer import Prepared, needs_pixels
from moderator.queue.embedding_cache import EmbeddingCache, SeenImage
from workers.attempt import Attempt
from workers.worker_metrics import Metrics


class Recall:
    """Knows the embeddings of images of earlier events. Thread-safe.

    Args:
        cache: keeps them.
        engine: its policies say which views they need.
        metrics: counts hits and misses.
    """

    def __init__(self, cache: EmbeddingCache, engine: Engine, metrics: Metrics) -> None:
        self._cache = cache
        self._engine = engine
        self._metrics = metrics

    def recall(self, attempt: Attempt, data: bytes) -> Prepared | None:
        """Return what is known of an image, and give its embeddings to the attempt; None if it must be embedded."""
        selection = self._engine.resolver.select_for(attempt.event)
        if needs_pixels(selection):
            return None
        preparer = self._engine.preparer
        seen = self._cache.get(sha256(data).hexdigest(), preparer.plan_of(selection))
        self._metrics.count_recall(seen is not None)
        if seen is None:
            return None
        attempt.recalled = seen.embeddings
        return preparer.recall(seen.facts, seen.views, selection)

    def remember(self, attempts: Sequence[Attempt]) -> None:
        """Keep what the model returned for images that were judged."""
        for one in attempts:
            if one.embedded is not None and one.embeddings is not None and one.prepared is not None:
                embeddings = one.embedded.result().embeddings
                seen = SeenImage(one.prepared.facts, one.prepared.views, embeddings)
                self._cache.put(seen, self._engine.preparer.plan_of(one.prepared.selection))
