"""A tower on a CUDA device: copies that overlap with the model, and CUDA graphs of fixed batch sizes.

There are two lanes, each with its own stream and pinned memory: while one lane's batch is in the model, the other's is
copied to the device. Launching the few hundred kernels of a forward pass costs the CPU more than a small batch costs
the device to compute, so the kernels are recorded once for each of a few batch sizes and launched as one graph; a batch
is padded to the next size. See https://docs.pytorch.org/docs/stable/notes/cuda.html#cuda-graphs.
"""

import logging
from queue import SimpleQueue
from threading import Lock
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from moderator.encoders.encoder import Embeddings, Pixels

log = logging.getLogger(__name__)

STREAMS = 2
#: Batch sizes that are recorded. Larger batches keep the device busy without a graph.
GRAPH_BATCH_SIZES = (1, 2, 4, 8, 16, 32, 64)
#: Runs before a recording, during which libraries choose and load their kernels.
WARM_UPS = 2
#: Largest difference allowed between embeddings (length 1) from a recording and from the model itself.
GRAPH_TOLERANCE = 1e-2


def recorded_size(count: int) -> int | None:
    """Return the smallest recorded batch size that fits `count` images; None if there are too many."""
    return next((size for size in GRAPH_BATCH_SIZES if size >= count), None)


class CudaForward:
    """Embeds batches, uint8 [n, size, size, 3] -> float32 [n, dimension]. Thread-safe; `STREAMS` threads at once.

    Args:
        tower: uint8 [n, size, size, 3] to float32 [n, dimension], on the device.
        device: a CUDA device.
    """

    def __init__(self, tower: nn.Module, device: torch.device) -> None:
        torch.cuda.synchronize(device)  # the weights are loaded, for other streams too
        self._free: SimpleQueue[_Lane] = SimpleQueue()
        recording = Lock()
        for _ in range(STREAMS):
            self._free.put(_Lane(tower, device, recording))

    def __call__(self, pixels: Pixels) -> Embeddings:
        """Embed a batch."""
        lane = self._free.get()
        try:
            return lane.embed(pixels)
        finally:
            self._free.put(lane)


class _Lane:
    def __init__(self, tower: nn.Module, device: torch.device, recording: Lock) -> None:
        self._tower, self._device, self._recording = tower, device, recording
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._host = torch.empty(0, dtype=torch.uint8)
        # The graphs of a lane run one after the other and share their memory.
        self._pool = torch.cuda.graph_pool_handle()
        self._graphs: dict[int, _Graph | None] = {}

    @torch.inference_mode()
    def embed(self, pixels: Pixels) -> Embeddings:
        with torch.cuda.device(self._device), torch.cuda.stream(self._stream):
            count = len(pixels)
            batch = self._pinned(pixels)
            size = recorded_size(count)
            graph = self._graph(size, batch) if size is not None else None
            rows = graph.run(batch) if graph else self._tower(batch.to(self._device, non_blocking=True))
            return np.asarray(rows[:count].cpu().numpy())  # waits for this stream only

    def _pinned(self, pixels: Pixels) -> Tensor:
        """Copy the batch to pinned memory, which the device reads directly."""
        if len(self._host) < len(pixels):
            self._host = torch.empty(pixels.shape, dtype=torch.uint8, pin_memory=True)
        batch = self._host[: len(pixels)]
        batch.copy_(torch.from_numpy(pixels))
        return batch

    def _graph(self, size: int, batch: Tensor) -> "_Graph | None":
        """Return the recording for a batch size, made on first use; None if the model cannot be recorded."""
        if size not in self._graphs:
            try:
                with self._recording:
                    graph = _Graph(self._tower, size, batch.shape[1:], self._device, self._pool)
                self._graphs[size] = graph if graph.right(self._tower, batch) else None
            except RuntimeError as error:
                log.warning("no CUDA graph for batches of %d: %s", size, error)
                self._graphs[size] = None
        return self._graphs[size]


class _Graph:
    """The recorded kernels of one batch size, with their input and output buffers."""

    def __init__(
        self, tower: nn.Module, size: int, shape: torch.Size, device: torch.device, pool: Any
    ) -> None:
        self._input = torch.zeros((size, *shape), dtype=torch.uint8, device=device)
        for _ in range(WARM_UPS):
            tower(self._input)
        stream = torch.cuda.current_stream(device)
        stream.synchronize()
        self._graph = torch.cuda.CUDAGraph()
        # `thread_local`: other threads go on with their own work on the device.
        with torch.cuda.graph(self._graph, pool=pool, stream=stream, capture_error_mode="thread_local"):
            self._output: Tensor = tower(self._input)

    def run(self, batch: Tensor) -> Tensor:
        """Run it on a batch of at most its size; rows beyond the batch's own are meaningless."""
        self._input[: len(batch)].copy_(batch, non_blocking=True)
        self._graph.replay()
        return self._output

    def right(self, tower: nn.Module, batch: Tensor) -> bool:
        """Return whether its embeddings match the model's."""
        recorded = self.run(batch)[: len(batch)]
        difference = (recorded - tower(batch.to(recorded.device))).abs().max().item()
        if difference <= GRAPH_TOLERANCE:
            return True
        log.warning("a CUDA graph is not used: its embeddings differ from the model's by %g", difference)
        return False
