"""Graphs and streams on a CUDA device, where there is one."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from moderator.encoders.cuda import GRAPH_BATCH_SIZES, CudaForward, recorded_size
from moderator.encoders.tower import unit_rows

on_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


@given(st.integers(1, 200))
def test_a_batch_is_filled_up_to_less_than_twice_its_size(count: int) -> None:
    size = recorded_size(count)
    if count > max(GRAPH_BATCH_SIZES):
        assert size is None
    else:
        assert size is not None
        assert count <= size < 2 * count


class Tower(nn.Module):
    """Rows of length 1 that depend on every pixel."""

    def __init__(self, side: int, synchronises: bool = False) -> None:
        super().__init__()
        self._linear = nn.Linear(3 * side * side, 32)
        self._synchronises = synchronises

    def forward(self, pixels: Tensor) -> Tensor:
        rows = self._linear(pixels.flatten(1).float() / 255)
        if self._synchronises and rows.sum().item() == 0.5:  # what a graph cannot record
            rows = rows + 1
        return unit_rows(rows)


def images(count: int, side: int = 8) -> np.ndarray:
    return np.random.default_rng(count).integers(0, 256, (count, side, side, 3), dtype=np.uint8)


@pytest.mark.cuda
@on_cuda
@pytest.mark.parametrize("synchronises", [False, True], ids=["recorded", "unrecordable"])
def test_embeddings_are_the_towers(synchronises: bool) -> None:
    device = torch.device("cuda")
    tower = Tower(8, synchronises).to(device)
    forward = CudaForward(tower, device)
    counts = [*range(1, 9), 31, 64, 65, 100] * 4

    def embed(count: int) -> np.ndarray:
        return forward(images(count))

    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(embed, counts))
    with torch.inference_mode():
        for count, rows in zip(counts, found, strict=True):
            expected = tower(torch.from_numpy(images(count)).to(device)).cpu().numpy()
            np.testing.assert_allclose(rows, expected, atol=1e-5)


@pytest.mark.cuda
@on_cuda
def test_small_batches_are_recorded_once_in_each_lane() -> None:
    device = torch.device("cuda")
    calls = 0

    class Counting(Tower):
        def forward(self, pixels: Tensor) -> Tensor:
            nonlocal calls
            calls += 1
            return super().forward(pixels)

    forward = CudaForward(Counting(8).to(device), device)
    for _ in range(4):
        forward(images(3))
    after = calls
    for _ in range(4):
        forward(images(4))
    assert calls == after, "a batch of 3 and one of 4 are the same recording"
