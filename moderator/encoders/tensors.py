"""Between arrays and tensors, for the families that run on torch."""

import torch
from torch import Tensor

from moderator.encoders.base import Embeddings, Pixels
from moderator.encoders.preprocessing import Preprocessing


class ModelInput:
    """Turns pixels into what an image tower takes, on its device and in its precision."""

    def __init__(self, preprocessing: Preprocessing, device: torch.device, dtype: torch.dtype) -> None:
        self._device, self._dtype = device, dtype
        self._factor = preprocessing.factor
        self._mean = torch.tensor(preprocessing.mean, device=device).view(1, 3, 1, 1)
        self._std = torch.tensor(preprocessing.std, device=device).view(1, 3, 1, 1)

    def __call__(self, pixels: Pixels) -> Tensor:
        """uint8 [n, size, size, 3] -> [n, 3, size, size]; normalised in float32, whatever the precision."""
        batch = torch.from_numpy(pixels)
        if self._device.type == "cuda":
            batch = batch.pin_memory()
        batch = batch.to(self._device, non_blocking=True).permute(0, 3, 1, 2).float()
        return batch.mul_(self._factor).sub_(self._mean).div_(self._std).to(self._dtype)


def unit_rows(features: Tensor) -> Embeddings:
    """Scale rows to length 1, in float32."""
    features = features.float()
    result: Embeddings = (features / features.norm(dim=-1, keepdim=True)).cpu().numpy()
    return result
