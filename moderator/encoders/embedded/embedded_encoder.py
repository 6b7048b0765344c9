"""The default encoder: real weights from ordinary packages, offline, small enough for a CPU.

EfficientNet-Lite2 sees, MiniLM reads, and `conse` joins them. It knows the 1,000 classes of ImageNet and what
looks or reads like them; it is no CLIP, and a policy that needs more should name a CLIP encoder.
"""

from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from moderator.encoders.embedded import efficientnet, minilm
from moderator.encoders.embedded.class_texts import load_class_texts
from moderator.encoders.embedded.conse import (
    AFFINITY_DIMENSION,
    AFFINITY_SHARE,
    CONSTANTS,
    LOGIT_TEMPERATURE,
    SURE_LENGTH,
    JointSpace,
    join,
)
from moderator.encoders.encoder import Embeddings, Identity, Pixels
from moderator.encoders.runtimes.plan import TORCH, make_plan
from moderator.encoders.texts import TextLimit
from moderator.encoders.tower import run
from moderator.errors import SettingsError
from moderator.images.resize import Resize


class EmbeddedEncoder:
    """EfficientNet-Lite2 and MiniLM in one space of 512 dimensions.

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

    #: Those of the texts and of the classes, one for what the image tower is unsure of, and one for what a text lacks.
    dimension = minilm.DIMENSION + AFFINITY_DIMENSION + 2
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
        class_texts = load_class_texts()
        self._space = join(class_texts, weight.numpy())
        tower = _ImageTower(trunk, weight, bias, self._space).to(self._device)
        self.device = str(self._device)
        self.dtype = plan.precision
        self.best_batch = plan.best_batch
        parts = (efficientnet.DIGEST, *minilm.DIGESTS.values(), class_texts.digest, *map(str, CONSTANTS))
        self.identity = Identity(
            id="embedded",
            revision=sha256("\n".join(parts).encode()).hexdigest() + plan.suffix,
            preprocessing=f"resize {self.image_size} bicubic, crop {self.image_size}, (x - 127) / 128",
        )
        self._embed = run(tower, plan, self, cache)

    def embed_images(self, pixels: Pixels) -> Embeddings:
        """Embed a batch, uint8 [n, 260, 260, 3] -> float32 [n, 512], rows of length 1 (or NaN)."""
        return self._embed(pixels)

    @torch.inference_mode()
    def embed_texts(self, texts: Sequence[str]) -> Embeddings:
        """Embed texts -> float32 [n, 512], rows of length 1. What is cut off is logged."""
        self._limit.warn(texts)
        return self._space.embed_texts(self._texts.embed(texts).cpu().numpy())

    def unload_texts(self) -> None:
        """Give MiniLM's memory back."""
        self._texts.unload()

    def truncated(self, texts: Sequence[str]) -> list[str]:
        """Those of the texts that MiniLM does not read to the end."""
        return self._limit.exceeded_by(texts)


class _ImageTower(nn.Module):
    """Pixels, uint8 [n, 260, 260, 3], to embeddings, float32 [n, 512]."""

    _weight: Tensor
    _bias: Tensor
    _classes: Tensor
    _linear: Tensor
    _basis: Tensor

    def __init__(self, trunk: nn.Module, weight: Tensor, bias: Tensor, space: JointSpace) -> None:
        super().__init__()
        self._trunk = trunk
        self._dtype = next(trunk.parameters()).dtype
        self.register_buffer("_weight", weight, persistent=False)
        self.register_buffer("_bias", bias, persistent=False)
        self.register_buffer("_classes", torch.from_numpy(space.classes), persistent=False)
        self.register_buffer("_linear", torch.from_numpy(space.linear), persistent=False)
        self.register_buffer("_basis", torch.from_numpy(space.basis), persistent=False)

    def forward(self, pixels: Tensor) -> Tensor:
        # The axes swap in name only: rows of RGB pixels are what torch calls channels_last.
        batch = pixels.permute(0, 3, 1, 2)
        features = self._trunk((batch.to(self._dtype) - 127) / 128).float().mean(dim=(2, 3))
        logits = torch.addmm(self._bias, features, self._weight.T)
        probabilities = (logits / LOGIT_TEMPERATURE).softmax(dim=-1)
        conse = probabilities @ self._classes
        conse = conse / conse.norm(dim=-1, keepdim=True).clamp(min=SURE_LENGTH)
        views = (conse + normalize(features @ self._linear, dim=-1)) / 2
        affine = probabilities.sqrt() @ self._basis
        seen = torch.cat((views * (1 - AFFINITY_SHARE) ** 0.5, affine * AFFINITY_SHARE**0.5), dim=-1)
        unsure = (1 - seen.square().sum(dim=-1, keepdim=True)).clamp(min=0).sqrt()
        return torch.cat((seen, unsure, torch.zeros_like(unsure)), dim=-1)
