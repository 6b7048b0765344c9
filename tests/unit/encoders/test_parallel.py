from threading import current_thread

import numpy as np
import torch

from moderator.encoders.encoder import Embeddings, Pixels
from moderator.encoders.parallel import SplitForward, cores_shared


class Model:
    """Embeds an image as its number and remembers where it ran, and how many threads torch had there."""

    def __init__(self) -> None:
        self.ran: list[tuple[str, int]] = []

    def __call__(self, pixels: Pixels) -> Embeddings:
        self.ran.append((current_thread().name.split("_")[0], torch.get_num_threads()))
        return pixels[:, 0, 0, :1].astype(np.float32)


def images(count: int) -> Pixels:
    return np.stack([np.full((2, 2, 3), number, np.uint8) for number in range(count)])


def test_a_single_image_has_all_cores_unless_they_are_wanted_elsewhere() -> None:
    model = Model()
    split = SplitForward(model, 2)
    before = torch.get_num_threads()
    try:
        split(images(1))
        with cores_shared(True):
            split(images(1))
        with cores_shared(False):
            split(images(1))
    finally:
        torch.set_num_threads(before)
    here = (current_thread().name.split("_")[0], 2)
    assert model.ran == [here, ("model", 1), here]


def test_a_batch_is_parted_over_the_cores_and_put_together_in_order() -> None:
    model = Model()
    embeddings = SplitForward(model, 2)(images(5))
    assert embeddings[:, 0].tolist() == [0, 1, 2, 3, 4]
    assert model.ran == [("model", 1)] * 2
