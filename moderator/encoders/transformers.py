"""CLIP models through the transformers library, by hub id or local folder."""

from collections.abc import Collection, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors import SafetensorError
from torch import nn
from transformers import AutoConfig, AutoModel, AutoTokenizer
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from moderator.encoders.base import Embeddings, Identity, Pixels
from moderator.encoders.parallel import on_all_cores
from moderator.encoders.runtimes.plan import TORCH, make_plan
from moderator.encoders.runtimes.tower import convert
from moderator.errors import WeightsInvalid
from moderator.images.resize import resize_and_crop

#: Texts in one forward of the text tower; bounds memory when a policy is large.
TEXT_BATCH = 256


class TransformersEncoder:
    """A `CLIPModel`. Same numbers as `CLIPProcessor` (PIL) and `CLIPModel`, within rounding.

    Args:
        model: hub id, `hub-id@revision`, or a folder as `save_pretrained` writes it.
        device: `auto`, `cpu`, `cuda`, ...
        dtype: `auto`, `float32`, `bfloat16`, `float16` or `int8`; in another runtime than torch that of the
            image tower, and texts are embedded in float32.
        runtime: `auto`, `torch`, `onnx` or `openvino`.
        cache: folder for converted models; None: the user's.

    Raises:
        WeightsInvalid: there is no such model, or it cannot be loaded.
        RuntimeMissing: the packages of the runtime are not installed.
    """

    def __init__(
        self,
        model: str,
        device: str = "auto",
        dtype: str = "auto",
        runtime: str = TORCH,
        cache: Path | None = None,
    ) -> None:
        plan = make_plan(runtime, device, dtype)
        self._device = plan.device
        folder = Path(model)
        name, _, pinned = (model, "", "") if folder.is_dir() else model.partition("@")
        revision = {"revision": pinned} if pinned else {}
        try:
            config = AutoConfig.from_pretrained(name, **revision)
            if config.model_type != "clip":
                raise ValueError(f"it is a model of the kind {config.model_type!r}, not 'clip'")
            self._model, loaded = AutoModel.from_pretrained(
                name,
                config=config,
                dtype=plan.dtype,
                use_safetensors=True,
                output_loading_info=True,
                **revision,
            )
            self._tokenizer = AutoTokenizer.from_pretrained(name, **revision)
            processor = CLIPImageProcessorPil.from_pretrained(name, **revision)
            _check_complete(config, loaded["missing_keys"], self._tokenizer, processor)
        # RuntimeError: shapes differ. KeyError: a tensor file that an index names has no such tensor.
        except (OSError, ValueError, RuntimeError, KeyError, SafetensorError) as error:
            raise WeightsInvalid(
                f"cannot load {model!r}: {error}\nGive a hub id that this machine can reach or has cached, or a "
                "folder with config.json, model.safetensors, tokenizer and preprocessor_config.json"
            ) from error
        self._model.eval().to(self._device)
        self._length = int(config.text_config.max_position_embeddings)
        self.dimension = int(config.projection_dim)
        with torch.inference_mode():
            self.scale = float(self._model.logit_scale.float().exp())
        self.bias = 0.0

        self._resize_to = int(processor.size["shortest_edge"])
        self.image_size = int(processor.crop_size["height"])
        self._resample = Image.Resampling(int(processor.resample))
        self._tower = _ImageTower(self._model, processor.image_mean, processor.image_std).to(self._device)
        self.device = str(self._device)
        self.dtype = plan.precision
        self.identity = Identity(
            id=f"clip:{folder.resolve().name if folder.is_dir() else name}",
            revision=(_folder_digest(folder) if folder.is_dir() else str(config._commit_hash)) + plan.suffix,
            preprocessing=f"resize {self._resize_to} {self._resample.name.lower()}, crop {self.image_size}, "
            f"mean {processor.image_mean}, std {processor.image_std}",
        )
        if plan.runtime == TORCH:
            self._embed = on_all_cores(self._forward, self._device)
        else:
            self._embed = convert(self._tower, plan, self, self.identity, cache)
            del self._tower, self._model.vision_model  # its weights are in the runtime now

    def preprocess(self, image: Image.Image) -> Pixels:
        """Resize the shortest edge, then crop the centre: uint8 [image_size, image_size, 3]."""
        return resize_and_crop(image, self._resize_to, self.image_size, self._resample)

    def embed_images(self, pixels: Pixels) -> Embeddings:
        """Embed a batch, uint8 [n, image_size, image_size, 3] -> float32 [n, dimension], rows of length 1."""
        return self._embed(pixels)

    @torch.inference_mode()
    def _forward(self, pixels: Pixels) -> Embeddings:
        batch = torch.from_numpy(pixels)
        if self._device.type == "cuda":
            batch = batch.pin_memory()
        return np.asarray(self._tower(batch.to(self._device, non_blocking=True)).cpu().numpy())

    @torch.inference_mode()
    def embed_texts(self, texts: Sequence[str]) -> Embeddings:
        """Embed texts -> float32 [n, dimension], rows of length 1."""
        rows = [np.empty((0, self.dimension), dtype=np.float32)]
        for start in range(0, len(texts), TEXT_BATCH):
            tokens = self._tokenizer(
                list(texts[start : start + TEXT_BATCH]),
                padding=True,
                truncation=True,
                max_length=self._length,
                return_tensors="pt",
            ).to(self._device)
            features = self._model.get_text_features(
                input_ids=tokens["input_ids"], attention_mask=tokens["attention_mask"]
            )
            rows.append(_unit(features.pooler_output).cpu().numpy())
        return np.concatenate(rows)


def _check_complete(config: Any, missing: Collection[str], tokenizer: Any, processor: Any) -> None:
    """Refuse what transformers would make up (random weights, an empty vocabulary) or what we do not do.

    Raises:
        ValueError: with the reason.
    """
    if missing:
        raise ValueError(f"{len(missing)} weights are missing, such as {min(missing)}")
    if not 256 <= len(tokenizer) <= config.text_config.vocab_size:
        raise ValueError(
            f"the tokenizer has {len(tokenizer)} tokens and the model {config.text_config.vocab_size}"
        )
    size = config.vision_config.image_size
    steps = (processor.do_resize, processor.do_center_crop, processor.do_rescale, processor.do_normalize)
    if (
        not all(steps)
        or not processor.size["shortest_edge"]
        or (processor.crop_size["height"], processor.crop_size["width"]) != (size, size)
        or abs(processor.rescale_factor * 255 - 1) > 1e-6
    ):
        raise ValueError(
            f"its preprocessing is not: resize the shortest edge, crop the centre to {size}, scale by 1/255, normalise"
        )


class _ImageTower(nn.Module):
    """Pixels, uint8 [n, size, size, 3], to embeddings, float32 [n, dimension]: normalisation is part of the graph."""

    _mean: torch.Tensor
    _std: torch.Tensor

    def __init__(self, model: Any, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self._model = model
        self.register_buffer("_mean", torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("_std", torch.tensor(std).view(1, 3, 1, 1), persistent=False)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        batch = pixels.permute(0, 3, 1, 2).float().mul_(1 / 255).sub_(self._mean).div_(self._std)
        features = self._model.get_image_features(pixel_values=batch.to(self._model.dtype))
        return _unit(features.pooler_output)


def _unit(features: torch.Tensor) -> torch.Tensor:
    """Scale rows to length 1, in float32."""
    features = features.float()
    unit: torch.Tensor = features / features.norm(dim=-1, keepdim=True)
    return unit


def _folder_digest(folder: Path) -> str:
    """SHA-256 over what a folder's embeddings depend on: weights, configuration, tokenizer (first 16 hex digits)."""
    digest = sha256()
    for path in sorted(p for p in folder.iterdir() if p.suffix in (".safetensors", ".json", ".txt")):
        digest.update(f"{path.name} {path.stat().st_size}\n".encode())
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()[:16]
