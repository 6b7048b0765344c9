"""Randomly initialised models of OpenCLIP's own architectures, and what OpenCLIP itself makes of inputs."""

import copy
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
from open_clip import factory
from open_clip.transform import PreprocessCfg, image_transform_v2, merge_preprocess_dict
from PIL import Image
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast


def register(name: str, base: str, layers: int | None = None) -> dict[str, Any]:
    """Add OpenCLIP's architecture `base` under a name, with so many layers in each tower (None: all of them)."""
    config = copy.deepcopy(open_clip.get_model_config(base))
    for tower in ("vision_cfg", "text_cfg"):
        if layers is not None and "layers" in config[tower]:
            config[tower]["layers"] = layers
    factory._MODEL_CONFIGS[name] = config
    return dict(config)


def save_weights(architecture: str, path: Path, seed: int = 5) -> Path:
    """A file of fresh weights, louder than usual, so that inputs part."""
    torch.manual_seed(seed)
    model = open_clip.create_model(architecture, load_weights=False, pretrained_text=False)
    with torch.no_grad():
        model.logit_scale.fill_(math.log(100))
        if model.logit_bias is not None:
            model.logit_scale.fill_(math.log(117))
            model.logit_bias.fill_(-12.9)
        for name, parameter in model.named_parameters():
            if parameter.ndim >= 2 and name.endswith("weight") and "embed" not in name:
                parameter.mul_(1.5)
            if "layer_scale" in name or name.endswith("gamma"):
                parameter.fill_(0.5)
    save_file({name: tensor.contiguous() for name, tensor in model.state_dict().items()}, path)
    return path


def write_config(folder: Path, config: dict[str, Any], preprocessing: dict[str, Any]) -> None:
    """`open_clip_config.json`, as OpenCLIP puts it beside the weights of a model on the hub."""
    (folder / "open_clip_config.json").write_text(
        json.dumps({"model_cfg": config, "preprocess_cfg": preprocessing})
    )


def save_tokenizer(folder: Path) -> None:
    """A tokenizer of letters in the manner of SigLIP's: an end mark, padding with 1 on the right."""
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0)]
    pieces += [(letter, -3.0) for letter in "abcdefghijklmnopqrstuvwxyz0123456789"]
    pieces += [(f"▁{word}", -4.0) for word in ("a", "photo", "of", "gun", "plate", "food", "cat")]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=2))
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing("$A </s>", special_tokens=[("</s>", 1)])
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="</s>", eos_token="</s>", unk_token="<unk>", model_max_length=64
    ).save_pretrained(folder)


@dataclass
class Reference:
    """OpenCLIP used as its README does."""

    model: Any
    transform: Any
    tokenizer: Any

    @classmethod
    def load(cls, architecture: str, weights: Path, preprocessing: dict[str, Any]) -> "Reference":
        model = open_clip.create_model(architecture, load_weights=False, pretrained_text=False).eval()
        open_clip.load_checkpoint(model, str(weights))
        settings = merge_preprocess_dict(PreprocessCfg(), preprocessing)
        settings["size"] = model.visual.image_size
        transform = image_transform_v2(PreprocessCfg(**settings), is_train=False)
        return cls(model, transform, open_clip.get_tokenizer(architecture))

    @torch.inference_mode()
    def images(self, images: Sequence[Image.Image]) -> np.ndarray:
        batch = torch.stack([self.transform(image) for image in images])
        return self.model.encode_image(batch, normalize=True).numpy()

    @torch.inference_mode()
    def texts(self, texts: Sequence[str]) -> np.ndarray:
        return self.model.encode_text(self.tokenizer(list(texts)), normalize=True).numpy()

    @torch.inference_mode()
    def logits(self, images: Sequence[Image.Image], texts: Sequence[str]) -> torch.Tensor:
        batch = torch.stack([self.transform(image) for image in images])
        return self.model.get_logits(batch, self.tokenizer(list(texts)))[0]
