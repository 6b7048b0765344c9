"""Randomly initialised CLIP models of the true architecture, as `save_pretrained` writes them."""

import math
from pathlib import Path

import torch
from transformers import CLIPConfig, CLIPModel, CLIPTokenizer
from transformers.convert_slow_tokenizer import bytes_to_unicode
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

PHOTOGRAPHS = Path(__file__).parents[2] / "moderator" / "data" / "demo"

SMALL_TOWER = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
}


def save_small_clip(folder: Path) -> Path:
    """The architecture at a fraction of its size."""
    text = {**SMALL_TOWER, "vocab_size": 600, "max_position_embeddings": 24}
    vision = {**SMALL_TOWER, "image_size": 64, "patch_size": 16}
    tokens = {"bos_token_id": 598, "eos_token_id": 599}
    config = CLIPConfig(text_config={**text, **tokens}, vision_config=vision, projection_dim=32)
    return save_clip(folder, config)


def save_clip_b32(folder: Path) -> Path:
    """CLIP ViT-B/32: what `CLIPConfig()` describes."""
    return save_clip(folder, CLIPConfig())


def save_clip(folder: Path, config: CLIPConfig) -> Path:
    """Any configuration."""
    torch.manual_seed(5)
    model = CLIPModel(config)
    with torch.no_grad():
        # The temperature of the published models.
        model.logit_scale.fill_(math.log(100))
        # Fresh weights map all inputs to nearly one direction. Random biases and louder layers part them.
        for name, parameter in model.named_parameters():
            if name.endswith("weight") and parameter.ndim > 1 and "embedding" not in name:
                parameter.mul_(SPREAD)
    model.save_pretrained(folder)
    size = config.vision_config.image_size
    CLIPImageProcessorPil(
        size={"shortest_edge": size}, crop_size={"height": size, "width": size}
    ).save_pretrained(folder)
    text = config.text_config
    save_clip_tokenizer(folder, text.bos_token_id, text.eos_token_id, text.max_position_embeddings)
    return folder


def save_clip_tokenizer(folder: Path, bos: int, eos: int, length: int) -> None:
    """A tokenizer with CLIP's form and single letters as its vocabulary."""
    letters = list(bytes_to_unicode().values())
    vocabulary = {token: n for n, token in enumerate([*letters, *(f"{letter}</w>" for letter in letters)])}
    vocabulary["<|startoftext|>"] = bos
    vocabulary["<|endoftext|>"] = eos
    CLIPTokenizer(vocab=vocabulary, merges=[], model_max_length=length).save_pretrained(folder)


#: Factor on the matrices of fresh weights.
SPREAD = 3.0
