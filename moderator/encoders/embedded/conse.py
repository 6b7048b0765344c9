"""How a classifier and a text model become one embedding space, without any training. Pure mathematics.

An image has two views, both in the space of the text model:

- **ConSE** (Norouzi et al., 2014, "Zero-Shot Learning by Convex Combination of Semantic Embeddings"): the
  classifier's probabilities weigh the texts of the classes. Exact where one class fits the image.
- **A linear map** from the classifier's last features to texts, fitted in closed form to its own weights:
  the row that detects a class has to be sent to that class's text (ridge regression, akin to Romera-Paredes
  and Torr, 2015, "An embarrassingly simple approach to zero-shot learning"). Sees what has no class of its
  own, such as an object held to the mouth.

Their mean is the embedding. Where they disagree, or where the classifier is unsure of everything, the mean is
short; the missing length goes into one more coordinate, which is zero for every text. So an unclear image is
less similar to all texts, instead of very similar to a random one.

Sentence embeddings share a large common part; the mean over the class texts is taken off everywhere.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float32]

#: Temperature on the logits. 1 is plain ConSE; above 1 the classes behind the first have more say.
LOGIT_TEMPERATURE = 1.5
#: Length of the sum over class texts at which the classifier counts as sure.
SURE_LENGTH = 0.2
#: Ridge penalty, in units of the mean eigenvalue of the normal matrix.
RIDGE_PENALTY = 1.0


@dataclass(frozen=True, eq=False)
class JointSpace:
    """The constants of the space, float32.

    `mean` [d] is the mean class text, `classes` [k, d] the centred class texts of length 1, `linear` [f, d]
    sends features to texts.
    """

    mean: Matrix
    classes: Matrix
    linear: Matrix


def join(class_texts: Matrix, weight: Matrix) -> JointSpace:
    """Build the space.

    Args:
        class_texts: [k, d], a vector of length 1 for each class.
        weight: [k, f], the classifier's last layer.
    """
    texts = class_texts.astype(np.float64)
    mean = texts.mean(axis=0)
    classes = texts - mean
    classes /= np.linalg.norm(classes, axis=1, keepdims=True)

    rows = weight.astype(np.float64)
    rows = rows - rows.mean(axis=0)  # softmax does not see what all rows share
    normal = rows.T @ rows
    normal += RIDGE_PENALTY * np.trace(normal) / len(normal) * np.eye(len(normal))
    linear = np.linalg.solve(normal, rows.T @ classes)
    return JointSpace(*(array.astype(np.float32) for array in (mean, classes, linear)))
