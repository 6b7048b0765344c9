"""Randomly initialised models of the families beside CLIP, as `save_pretrained` writes them, and their references."""

import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import sentencepiece
import torch
from PIL import Image
from torch import nn
from transformers import (
    AlignConfig,
    AlignModel,
    AltCLIPConfig,
    AltCLIPModel,
    AutoModel,
    AutoTokenizer,
    BertTokenizer,
    ChineseCLIPConfig,
    ChineseCLIPModel,
    GemmaTokenizer,
    MetaClip2Config,
    MetaClip2Model,
    SiglipConfig,
    SiglipModel,
    SiglipTokenizer,
    XLMRobertaTokenizer,
)
from transformers.models.chinese_clip.image_processing_pil_chinese_clip import ChineseCLIPImageProcessorPil
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.efficientnet.image_processing_pil_efficientnet import EfficientNetImageProcessorPil
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

from tests.support.clip_models import SMALL_TOWER, SPREAD

#: What SigLIP learnt: a temperature and a bias.
SIGLIP_SCALE, SIGLIP_BIAS = 117.0, -12.9
WORDS = (
    "a",
    "photo",
    "of",
    "the",
    "gun",
    "knife",
    "plate",
    "food",
    "cat",
    "dog",
    "bottle",
    "street",
    "house",
    "red",
)


def louden(model: nn.Module) -> None:
    """Fresh weights map all inputs to nearly one direction. Louder layers part them."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("weight") and parameter.ndim > 1 and "embedding" not in name:
                parameter.mul_(SPREAD)


def save_siglip(folder: Path, config: SiglipConfig | None = None, *, second: bool = False) -> Path:
    """SigLIP, by default a small one; `second` with the tokenizer and filter of SigLIP 2."""
    torch.manual_seed(5)
    if config is None:
        text = {**SMALL_TOWER, "vocab_size": 700, "max_position_embeddings": 24, "projection_size": 64}
        vision = {**SMALL_TOWER, "image_size": 64, "patch_size": 16}
        config = SiglipConfig(text_config=text, vision_config=vision)
    model = SiglipModel(config)
    with torch.no_grad():
        model.logit_scale.fill_(math.log(SIGLIP_SCALE))
        model.logit_bias.fill_(SIGLIP_BIAS)
        for name, parameter in model.named_parameters():
            if name.endswith("position_embedding.weight"):
                parameter.mul_(0.1)
    model.save_pretrained(folder)
    size = config.vision_config.image_size
    SiglipImageProcessorPil(
        size={"height": size, "width": size},
        resample=2 if second else 3,
        image_mean=[0.5] * 3,
        image_std=[0.5] * 3,
    ).save_pretrained(folder)
    length = config.text_config.max_position_embeddings
    options = {"model_max_length": length, "model_input_names": ["input_ids"]}
    if second:
        gemma_tokenizer(GemmaTokenizer, **options).save_pretrained(folder)
    else:
        vocabulary = folder / "spiece.model"
        vocabulary.write_bytes(sentence_pieces())
        SiglipTokenizer(str(vocabulary), **options).save_pretrained(folder)
    return folder


def gemma_tokenizer(kind: type, **options: Any) -> Any:
    """A tokenizer as SigLIP 2 has it: bytes and letters, an end mark, padding with 0 on the right."""
    tokens = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", *(f"<0x{n:02X}>" for n in range(256))]
    tokens += ["▁", *sorted({letter for word in WORDS for letter in word + word.upper()})]
    vocabulary = {token: number for number, token in enumerate(tokens)}
    return kind(
        vocab=vocabulary, merges=[], padding_side="right", add_bos_token=False, add_eos_token=True, **options
    )


def sentence_pieces(pieces: int = 300) -> bytes:
    """A SentencePiece model with the special tokens of C4's, which SigLIP uses."""
    words = np.random.default_rng(3)
    sentences = [" ".join(words.choice(WORDS, size=6)) for _ in range(400)]
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(sentences),
        model_writer=model,
        vocab_size=pieces,
        hard_vocab_limit=False,
        byte_fallback=True,
        pad_id=0,
        eos_id=1,
        unk_id=2,
        bos_id=-1,
        add_dummy_prefix=False,
        num_threads=1,
        minloglevel=2,
    )
    return model.getvalue()


def save_chinese_clip(folder: Path) -> Path:
    text = {**SMALL_TOWER, "vocab_size": 700, "max_position_embeddings": 40}
    vision = {**SMALL_TOWER, "image_size": 64, "patch_size": 16}
    model = ChineseCLIPModel(ChineseCLIPConfig(text_config=text, vision_config=vision, projection_dim=32))
    processor = ChineseCLIPImageProcessorPil(
        size={"shortest_edge": 64}, crop_size={"height": 64, "width": 64}
    )
    return _save(folder, model, processor, bert_tokenizer(40))


def save_alt_clip(folder: Path) -> Path:
    text = {
        **SMALL_TOWER, "vocab_size": 700, "max_position_embeddings": 34, "pad_token_id": 1, "project_dim": 48
    }  # fmt: skip
    vision = {**SMALL_TOWER, "image_size": 64, "patch_size": 16}
    model = AltCLIPModel(AltCLIPConfig(text_config=text, vision_config=vision, projection_dim=48))
    processor = CLIPImageProcessorPil(size={"shortest_edge": 72}, crop_size={"height": 64, "width": 64})
    return _save(folder, model, processor, roberta_tokenizer())


def save_meta_clip_2(folder: Path) -> Path:
    text = {**SMALL_TOWER, "vocab_size": 700, "max_position_embeddings": 24, "eos_token_id": 2}
    vision = {**SMALL_TOWER, "image_size": 64, "patch_size": 16}
    model = MetaClip2Model(MetaClip2Config(text_config=text, vision_config=vision, projection_dim=32))
    processor = CLIPImageProcessorPil(size={"shortest_edge": 64}, crop_size={"height": 64, "width": 64})
    return _save(folder, model, processor, roberta_tokenizer())


def save_align(folder: Path) -> Path:
    text = {**SMALL_TOWER, "vocab_size": 700, "max_position_embeddings": 40}
    vision = {"image_size": 57, "width_coefficient": 0.25, "depth_coefficient": 0.2, "hidden_dim": 320}
    model = AlignModel(AlignConfig(text_config=text, vision_config=vision, projection_dim=80))
    processor = EfficientNetImageProcessorPil(
        size={"height": 70, "width": 70},
        crop_size={"height": 57, "width": 57},
        do_center_crop=True,
        resample=2,
        rescale_factor=1 / 127.5,
        rescale_offset=True,
        do_normalize=False,
        include_top=False,
    )
    return _save(folder, model, processor, bert_tokenizer(64))


def bert_tokenizer(length: int) -> BertTokenizer:
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]
    tokens += [f"{mark}{chr(n)}" for mark in ("", "##") for n in range(ord("!"), ord("~") + 1)]
    tokens += [chr(ord("一") + n) for n in range(100)]
    vocabulary = {token: number for number, token in enumerate(dict.fromkeys(tokens))}
    return BertTokenizer(vocab=vocabulary, model_max_length=length)


def roberta_tokenizer() -> XLMRobertaTokenizer:
    pieces: dict[str, float] = {"<s>": 0.0, "<pad>": 0.0, "</s>": 0.0, "<unk>": 0.0}
    pieces |= {f"▁{word}": -3.0 for word in WORDS}
    pieces |= {chr(n): -6.0 for n in range(ord("!"), ord("~") + 1)} | {"▁": -5.0}
    pieces |= {chr(ord("一") + n): -6.0 for n in range(150)} | {"<mask>": 0.0}
    return XLMRobertaTokenizer(vocab=list(pieces.items()))


def _save(folder: Path, model: Any, processor: Any, tokenizer: Any) -> Path:
    louden(model)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


class Reference:
    """A model in float32, called as its documentation does: processor, forward, logits."""

    def __init__(self, folder: Path, processor: Any, tokenizer: Any = None, **text_options: Any) -> None:
        self.model = AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
        self.tokenizer = tokenizer or AutoTokenizer.from_pretrained(folder)
        self.processor = processor.from_pretrained(folder)
        self.text_options = text_options or {"padding": True}

    @torch.inference_mode()
    def __call__(self, images: Sequence[Image.Image], texts: Sequence[str]) -> Any:
        pixels = self.processor(images=list(images), return_tensors="pt")["pixel_values"]
        tokens = self.tokenizer(list(texts), truncation=True, return_tensors="pt", **self.text_options)
        return self.model(pixel_values=pixels, **tokens)
