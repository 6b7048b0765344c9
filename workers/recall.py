"""Spare an image that comes again its decoding and the model.

An image is judged without the cache if the cache cannot be used.
"""

import logging
from collections.abc import Sequence
from hashlib import sha256

from moderator.engine.engine import Engine
from moderator.engine.preparer import Prepared, needs_pixels
from moderator.errors import RedisMisused
from moderator.queue.embedding_cache import EmbeddingCache, SeenImage
from workers.attempt import Attempt
from workers.worker_metrics import Metrics

log = logging.getLogger(__name__)


class Recall:
    """Knows the embeddings of images of earlier events. Thread-safe.

    Args:
        cache: keeps them.
        engine: its policies say which views they need.
        metrics: counts hits, misses and errors.
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
        try:
            seen = self._cache.get(sha256(data).hexdigest(), preparer.plan_of(selection))
        except RedisMisused as error:
            self._metrics.count_recall("error")
            log.warning("the embedding cache is not used for event %s: %s", attempt.event.key, error)
            return None
        self._metrics.count_recall("miss" if seen is None else "hit")
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
                try:
                    self._cache.put(seen, self._engine.preparer.plan_of(one.prepared.selection))
                except RedisMisused as error:
                    log.warning("the embeddings of event %s are not kept: %s", one.event.key, error)
