"""The default encoder: real weights from ordinary packages, offline, small enough for a CPU.

EfficientNet-Lite2 sees, MiniLM reads, and `conse` joins them. It knows the 1,000 classes of ImageNet and what
looks or reads like them; it is no CLIP, and a policy that needs more should name a CLIP encoder.
"""

from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import normalize, pad

from moderator.encoders.embedded import efficientnet, minilm
from moderator.encoders.embedded.class_texts import load_class_vectors
from moderator.encoders.embedded.conse import LOGIT_TEMPERATURE, RIDGE_PENALTY, SURE_LENGTH, JointSpace, join
from moderator.encoders.encoder import Embeddings, Identity, Pixels
from moderator.encoders.runtimes.plan import TORCH, make_plan
from moderator.encoders.texts import TextLimit
from moderator.encoders.tower import run
from moderator.errors import SettingsError
from moderator.images.resize import Resize


class EmbeddedEncoder:
    """EfficientNet-Lite2 and MiniLM in one space of 385 dimensions.

    Args:
        device: `auto`, `cpu`, `cuda`, ...
        dtype: precision of the convolutions; in torch the classifier, the join and the texts stay in float32.
        runtime: `auto`, `torch`, `onnx` or `openvino`.
        cache: folder for converted models; None: the user's.

    Raises:
        WeightsInvalid: a file of a weights package is missing or not the published one.
        RuntimeMissing: the packages of the runtime are not installed.
        SettingsError: int8 is asked for.
    """

    #: Those of the texts, and one for what the image tower is unsure of.
    dimension = minilm.DIMENSION + 1
    image_size = efficientnet.IMAGE_SIZE
    preprocess = Resize(image_size, image_size, central=True)
    #: Cosines of this space are spread several times as wide as CLIP's, so 12 plays the part of its 100.
    scale = 12.0
    bias = 0.0

    def __init__(
        self, device: str = "auto", dtype: str = "auto", runtime: str = TORCH, cache: Path | None = None
    ) -> None:
        plan = make_plan(runtime, device, dtype)
        if plan.precision == "int8":
            # Measured with NNCF on 16 photographs: lowest cosine to float32 0.77.
            raise SettingsError(
                "MODERATOR_DTYPE=int8: the embedded encoder loses too much in int8; "
                "use auto, float32 or bfloat16, or a clip: encoder"
            )
        self._device = plan.device
        trunk, weight, bias = efficientnet.load_classifier()
        trunk.to(self._device, plan.dtype).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._texts = minilm.MiniLM(self._device)
        self._limit = TextLimit(minilm.MAX_TOKENS, self._texts.count_tokens)
        class_vectors, class_digest = load_class_vectors()
        space = join(class_vectors, weight.numpy())
        self._mean = torch.from_numpy(space.mean).to(self._device)
        tower = _ImageTower(trunk, weight, bias, space).to(self._device)
        self.device = str(self._device)
        self.dtype = plan.precision
        self.best_batch = plan.best_batch
        parts = (efficientnet.DIGEST, *minilm.DIGESTS.values(), class_digest)
        parts += tuple(str(number) for number in (LOGIT_TEMPERATURE, SURE_LENGTH, RIDGE_PENALTY))
        self.identity = Identity(
            id="embedded",
            revision=sha256("\n".join(parts).encode()).hexdigest() + plan.suffix,
            preprocessing=f"resize {self.image_size} bicubic, crop {self.image_size}, (x - 127) / 128",
        )
        self._embed = run(tower, plan, self, cache)

    def embed_images(self, pixels: Pixels) -> Embeddings:
        """Embed a batch, uint8 [n, 260, 260, 3] -> float32 [n, 385], rows of length 1 (or NaN)."""
        return self._embed(pixels)

    @torch.inference_mode()
    def embed_texts(self, texts: Sequence[str]) -> Embeddings:
        """Embed texts -> float32 [n, 385], rows of length 1. What is cut off is logged."""
        self._limit.warn(texts)
        rows = normalize(self._texts.embed(texts) - self._mean, dim=-1)
        return np.asarray(pad(rows, (0, 1)).cpu().numpy())

    def unload_texts(self) -> None:
        """Give MiniLM's memory back."""
        self._texts.unload()

    def truncated(self, texts: Sequence[str]) -> list[str]:
        """Those of the texts that MiniLM does not read to the end."""
        return self._limit.exceeded_by(texts)


class _ImageTower(nn.Module):
    """Pixels, uint8 [n, 260, 260, 3], to embeddings, float32 [n, 385]."""

    _weight: Tensor
    _bias: Tensor
    _classes: Tensor
    _linear: Tensor

    def __init__(self, trunk: nn.Module, weight: Tensor, bias: Tensor, space: JointSpace) -> None:
        super().__init__()
        self._trunk = trunk
        self._dtype = next(trunk.parameters()).dtype
        self.register_buffer("_weight", weight, persistent=False)
        self.register_buffer("_bias", bias, persistent=False)
        self.register_buffer("_classes", torch.from_numpy(space.classes), persistent=False)
        self.register_buffer("_linear", torch.from_numpy(space.linear), persistent=False)

    def forward(self, pixels: Tensor) -> Tensor:
        # The axes swap in name only: rows of RGB pixels are what torch calls channels_last.
        batch = pixels.permute(0, 3, 1, 2)
        features = self._trunk((batch.to(self._dtype) - 127) / 128).float().mean(dim=(2, 3))
        logits = torch.addmm(self._bias, features, self._weight.T)
        conse = (logits / LOGIT_TEMPERATURE).softmax(dim=-1) @ self._classes
        conse = conse / conse.norm(dim=-1, keepdim=True).clamp(min=SURE_LENGTH)
        views = (conse + normalize(features @ self._linear, dim=-1)) / 2
        unsure = (1 - views.square().sum(dim=-1, keepdim=True)).clamp(min=0).sqrt()
        return torch.cat((views, unsure), dim=-1)
