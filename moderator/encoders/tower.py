"""An image tower as one graph, from pixels to rows of length 1, and the runtime that runs it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from moderator.encoders.cuda import CudaForward
from moderator.encoders.encoder import Embeddings, Encoder, Pixels
from moderator.encoders.parallel import Forward, on_all_cores
from moderator.encoders.preprocessing import Preprocessing
from moderator.encoders.runtimes.convert import convert
from moderator.encoders.runtimes.plan import TORCH, Plan


class ImageTower(nn.Module):
    """uint8 [n, size, size, 3] to float32 [n, dimension], rows of length 1.

    Normalisation is part of the graph, in float32 whatever the precision of the model.

    Args:
        model: passed to `features`.
        features: maps the model and [n, 3, size, size] to [n, dimension].
        preprocessing: source of the factor, mean and standard deviation.
        dtype: precision of the model.
    """

    _mean: Tensor
    _std: Tensor

    def __init__(
        self,
        model: nn.Module,
        features: Callable[[Any, Tensor], Tensor],
        preprocessing: Preprocessing,
        dtype: torch.dtype,
    ) -> None:
        super().__init__()
        self._model = model
        self._features = features
        self._dtype = dtype
        self._factor = preprocessing.factor
        self.register_buffer("_mean", torch.tensor(preprocessing.mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("_std", torch.tensor(preprocessing.std).view(1, 3, 1, 1), persistent=False)

    def forward(self, pixels: Tensor) -> Tensor:
        """Normalise, run the model, scale to length 1."""
        return unit_rows(self._features(self._model, self.normalise(pixels)))

    def normalise(self, pixels: Tensor) -> Tensor:
        """Convert uint8 [n, size, size, 3] to the model's input, [n, 3, size, size]."""
        batch = pixels.permute(0, 3, 1, 2).float()
        return batch.mul_(self._factor).sub_(self._mean).div_(self._std).to(self._dtype)


def unit_rows(features: Tensor) -> Tensor:
    """Scale rows to length 1, in float32."""
    features = features.float()
    rows: Tensor = features / features.norm(dim=-1, keepdim=True)
    return rows


def run(tower: nn.Module, plan: Plan, encoder: Encoder, cache: Path | None) -> Forward:
    """Return the function that embeds a batch of images according to the plan.

    Args:
        tower: uint8 [n, size, size, 3] to float32 [n, dimension]; on the plan's device, in its dtype.
        plan: runtime, precision, device.
        encoder: the tower's owner; its `preprocess` and `identity` are used.
        cache: `MODERATOR_CACHE`, for converted models; None: the user's cache folder.

    Raises:
        SettingsError: the cache cannot be written.
    """
    tower.eval()
    if plan.runtime != TORCH:
        return convert(tower, plan, encoder, cache)

    if plan.device.type == "cuda":
        return CudaForward(tower, plan.device)

    @torch.inference_mode()
    def forward(pixels: Pixels) -> Embeddings:
        return np.asarray(tower(torch.from_numpy(pixels).to(plan.device)).cpu().numpy())

    return on_all_cores(forward, plan.device)
