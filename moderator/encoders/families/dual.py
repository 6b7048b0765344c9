"""What encoders share whose two towers are one model in torch: OpenCLIP's and those of the transformers library."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from moderator.encoders.encoder import Embeddings, Identity, Pixels
from moderator.encoders.preprocessing import Preprocessing
from moderator.encoders.runtimes.plan import TORCH, Plan
from moderator.encoders.texts import TextLimit, in_batches
from moderator.encoders.tower import ImageTower, run, unit_rows
from moderator.encoders.weights import loading

#: What to do where the files of a model are no longer what they were at the start.
GONE = (
    "A changed policy needs it, and MODERATOR_UNLOAD_TEXTS gave it back: put the model's files where they were, or "
    "restart the worker without that setting."
)


class DualEncoder:
    """Base of such encoders: says how the towers are held, run and given back.

    A library says what its towers compute (`image_features`, `text_features`) and which parts of a model belong to one
    tower alone. Its constructor calls `_hold`, then `_add_towers`, and last `_start`.
    """

    #: The part of a model that only images need, and those, where it has them, that only texts need.
    image_part: ClassVar[str]
    text_parts: ClassVar[tuple[str, ...]]

    identity: Identity
    scale: float
    bias: float
    _texts: Any

    @staticmethod
    def image_features(model: Any, batch: Tensor) -> Tensor:
        """[n, 3, size, size] to [n, dimension], of any length."""
        raise NotImplementedError

    def text_features(self, model: Any, texts: Sequence[str]) -> Tensor:
        """A few texts to [n, dimension], of any length."""
        raise NotImplementedError

    def embed_images(self, pixels: Pixels) -> Embeddings:
        """Embed a batch, uint8 [n, image_size, image_size, 3] -> float32 [n, dimension], rows of length 1."""
        return self._embed(pixels)

    def embed_texts(self, texts: Sequence[str]) -> Embeddings:
        """Embed texts -> float32 [n, dimension], rows of length 1. What is cut off is logged.

        Raises:
            WeightsInvalid: the text tower was unloaded, and cannot be loaded again.
        """
        self._limit.warn(texts)
        return in_batches(self._unit_texts, texts, self.dimension)

    def truncated(self, texts: Sequence[str]) -> list[str]:
        """Those of the texts that the text tower does not read to the end."""
        return self._limit.exceeded_by(texts)

    def unload_texts(self) -> None:
        """Give the memory of the text tower back."""
        if self._texts is self._model:
            for part in self.text_parts:
                if hasattr(self._model, part):
                    delattr(self._model, part)
        self._texts = None

    def _hold(self, plan: Plan, load: Callable[[], Any]) -> None:
        """Load the model.

        Args:
            plan: where it runs.
            load: makes it, on the plan's device and in its dtype; called again for texts after `unload_texts`.
        """
        self._plan, self._load = plan, load
        self._device = plan.device
        self.device, self.dtype, self.best_batch = str(plan.device), plan.precision, plan.best_batch
        self._texts = self._model = load()

    def _add_towers(self, preprocessing: Preprocessing, limit: TextLimit) -> None:
        """From here on both towers can be called."""
        self._limit = limit
        tower = ImageTower(self._model, self.image_features, preprocessing, self._plan.dtype)
        self._tower = tower.to(self._device)
        self.image_size = preprocessing.crop
        self.preprocess = preprocessing.geometry
        self.dimension = self._unit_texts([""]).shape[1]

    def _start(self, cache: Path | None) -> None:
        """Make the image tower ready in the plan's runtime; `identity` is known by now."""
        self._embed = run(self._tower, self._plan, self, cache)
        if self._plan.runtime != TORCH:  # the weights of the image tower are in the runtime now
            del self._tower
            delattr(self._model, self.image_part)

    @torch.inference_mode()
    def _unit_texts(self, texts: Sequence[str]) -> Embeddings:
        if self._texts is None:
            with loading(f"the text tower of {self.identity.id} again", GONE):
                loaded = self._load()
                delattr(loaded, self.image_part)
            self._texts = loaded
        return np.asarray(unit_rows(self.text_features(self._texts, texts)).cpu().numpy())
