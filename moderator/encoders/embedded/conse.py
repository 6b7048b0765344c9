"""How a classifier and a text model become one embedding space, without any training. Pure mathematics.

An image has three views. Two are in the space of the text model:

- **ConSE** (Norouzi et al., 2014, "Zero-Shot Learning by Convex Combination of Semantic Embeddings"): the
  classifier's probabilities weigh the texts of the classes. Exact where one class fits the image.
- **A linear map** from the classifier's last features to texts, fitted in closed form to its own weights:
  the row that detects a class has to be sent to that class's text (ridge regression, akin to Romera-Paredes
  and Torr, 2015, "An embarrassingly simple approach to zero-shot learning"). Sees what has no class of its
  own, such as an object held to the mouth.

Their mean is compared with the text's vector. The third is in the space of the classes:

- **Affinity of distributions**: an image is a distribution p over the classes, and so is a text, q: the softmax of its
  similarity to the closest text of each class. They are as alike as their Bhattacharyya coefficient, the sum of
  sqrt(p q), which is an inner product of vectors of length 1 (Bhattacharyya, 1943). A mean over all texts of a class
  blurs them; here one text of several is enough to find a class. Since classes that share texts are alike, few
  directions hold nearly all of it: the leading singular vectors of the class texts' own sqrt(q).

Where the views disagree, or where the classifier is unsure of everything, an image's row is short; the missing length
goes into one more coordinate, which is zero for every text. So an unclear image is less similar to all texts, instead
of very similar to a random one. What a text's row lacks goes into another, which is zero for every image.

Sentence embeddings share a large common part; the mean over the class texts is taken off everywhere.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from moderator.encoders.embedded.class_texts import ClassTexts

Matrix = NDArray[np.float32]

#: Temperature on the logits. 1 is plain ConSE; above 1 the classes behind the first have more say.
LOGIT_TEMPERATURE = 1.5
#: Length of the sum over class texts at which the classifier counts as sure.
SURE_LENGTH = 0.2
#: Ridge penalty, in units of the mean eigenvalue of the normal matrix.
RIDGE_PENALTY = 1.0
#: Temperature on a text's cosines with the class texts.
TEXT_TEMPERATURE = 0.08
#: Share of the affinity of distributions in a similarity.
AFFINITY_SHARE = 0.35
#: Directions that the affinity is computed in.
AFFINITY_DIMENSION = 126
CONSTANTS = (
    LOGIT_TEMPERATURE,
    SURE_LENGTH,
    RIDGE_PENALTY,
    TEXT_TEMPERATURE,
    AFFINITY_SHARE,
    AFFINITY_DIMENSION,
)

#: Texts whose similarities with all class texts are in memory at once.
_TEXT_BLOCK = 1024


@dataclass(frozen=True, eq=False)
class JointSpace:
    """The constants of the space, float32.

    `mean` [d] is the mean class text, `classes` [k, d] the centred class texts of length 1, `linear` [f, d]
    sends features to texts, `basis` [k, r] has orthonormal columns, `texts` [m, d] are the centred single texts of
    length 1, `members` [n] and `starts` [k] those of each class.
    """

    mean: Matrix
    classes: Matrix
    linear: Matrix
    basis: Matrix
    texts: Matrix
    members: NDArray[np.int64]
    starts: NDArray[np.int64]

    def embed_texts(self, vectors: Matrix) -> Matrix:
        """Return the rows of texts, [n, d + r + 2] of length 1, for their vectors of length 1, [n, d]."""
        blocks = [vectors[at : at + _TEXT_BLOCK] for at in range(0, len(vectors), _TEXT_BLOCK)]
        width = len(self.mean) + self.basis.shape[1] + 2
        return np.concatenate([np.zeros((0, width), np.float32), *map(self._embed_block, blocks)])

    def _embed_block(self, vectors: Matrix) -> Matrix:
        centred = _unit(vectors - self.mean)
        affine = _class_roots(centred, self) @ self.basis
        rest = np.sqrt(np.maximum(1 - np.square(affine).sum(axis=1, keepdims=True), 0))
        near, far = np.sqrt(1 - AFFINITY_SHARE), np.sqrt(AFFINITY_SHARE)
        parts = (near * centred, far * affine, np.zeros_like(rest), far * rest)
        return np.concatenate(parts, axis=1, dtype=np.float32)


def join(texts: ClassTexts, weight: Matrix) -> JointSpace:
    """Build the space.

    Args:
        texts: the texts of k classes.
        weight: [k, f], the classifier's last layer.
    """
    vectors = texts.vectors.astype(np.float64)
    counts = np.diff([*texts.starts, len(texts.members)])
    means = _unit(np.add.reduceat(vectors[texts.members], texts.starts) / counts[:, None])
    mean = means.mean(axis=0)
    classes = _unit(means - mean)

    rows = weight.astype(np.float64)
    rows = rows - rows.mean(axis=0)  # softmax does not see what all rows share
    normal = rows.T @ rows
    normal += RIDGE_PENALTY * np.trace(normal) / len(normal) * np.eye(len(normal))
    linear = np.linalg.solve(normal, rows.T @ classes)

    space = JointSpace(
        mean=mean.astype(np.float32),
        classes=classes.astype(np.float32),
        linear=linear.astype(np.float32),
        basis=np.zeros((len(classes), 0), np.float32),
        texts=_unit(vectors - mean).astype(np.float32),
        members=texts.members,
        starts=texts.starts,
    )
    roots = _class_roots(space.texts, space).astype(np.float64)
    # The leading right singular vectors; the signs of eigenvectors cancel in every inner product.
    leading = np.linalg.eigh(roots.T @ roots).eigenvectors[:, ::-1][:, :AFFINITY_DIMENSION]
    return replace(space, basis=leading.astype(np.float32))


def _class_roots(centred: NDArray[np.float32], space: JointSpace) -> NDArray[np.float32]:
    """Return sqrt(q) of texts, [n, k], for their centred vectors of length 1."""
    similarities = (centred @ space.texts.T)[:, space.members]
    logits = np.maximum.reduceat(similarities, space.starts, axis=1) / np.float32(TEXT_TEMPERATURE)
    weights = np.exp(logits - logits.max(axis=1, keepdims=True))
    roots: NDArray[np.float32] = np.sqrt(weights / weights.sum(axis=1, keepdims=True))
    return roots


def _unit(rows: NDArray[Any]) -> NDArray[Any]:
    unit: NDArray[Any] = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return unit
