"""A policy's scores for embeddings: zero-shot moderation, without a probe."""

import numpy as np
from numpy.typing import NDArray

from moderator.embeddings.embedder import Embedder
from moderator.encoders.encoder import Embeddings
from moderator.engine.compiler import Compiler
from moderator.policies.catalogue import Catalogue
from moderator.policies.references import parse_reference
from moderator.scoring.rules import score


def score_by_policy(
    embedder: Embedder, embeddings: Embeddings, reference: str
) -> dict[str, NDArray[np.float32]]:
    """Return the unsafe score of each category that has prompts, float32 [n] by name.

    Args:
        embedder: source of the encoder, the cache and the policies.
        embeddings: float32 [n, dimension].
        reference: `NAME` (its active version) or `NAME@VERSION`.

    Raises:
        PolicyNotFound: there is no such policy.
    """
    catalogue = Catalogue(embedder.settings.policies)
    name, version = parse_reference(reference)
    policy = catalogue.get(name, version) if version is not None else catalogue.select(name, "").decides
    compiled = Compiler(embedder.encoder, embedder.settings.cache).compile(policy)
    if not compiled.layout.categories:  # only signals
        return {}
    scores = score(compiled.layout, embeddings @ compiled.matrix.T, compiled.scale, compiled.bias)
    return {category: scores.unsafe[:, n] for n, category in enumerate(compiled.layout.categories)}
