"""Spare an image that comes again its decoding and the model.

An image is judged without the cache if the cache cannot be used.
"""

import logging
import time
from collections.abc import Sequence
from hashlib import sha256

from moderator.engine.engine import Engine
from moderator.engine.preparer import Prepared, needs_pixels
from moderator.errors import RedisMisused
from moderator.queue.embedding_cache import EmbeddingCache, SeenImage
from workers.attempt import Attempt
from workers.worker_metrics import Metrics

log = logging.getLogger(__name__)

#: Between warnings: foreign data at the cache's key would give one or two for each event.
SECONDS_BETWEEN_WARNINGS = 60.0


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
        self._next_warning = 0.0

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
            self._warn("the embedding cache is not used for event", attempt, error)
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
                    self._warn("the cache does not keep the embeddings of event", one, error)

    def _warn(self, what: str, attempt: Attempt, error: RedisMisused) -> None:
        now = time.monotonic()
        if now >= self._next_warning:
            self._next_warning = now + SECONDS_BETWEEN_WARNINGS
            log.warning("%s %s: %s", what, attempt.event.key, error)
