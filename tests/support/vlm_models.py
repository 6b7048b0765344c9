"""Randomly initialised vision-language models and detectors of the true architectures, at a fraction of their sizes."""

from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    Owlv2Config,
    Owlv2ForObjectDetection,
    PreTrainedTokenizerFast,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
    ShieldGemma2Config,
    ShieldGemma2ForImageClassification,
)
from transformers.convert_slow_tokenizer import bytes_to_unicode
from transformers.models.gemma3.image_processing_pil_gemma3 import Gemma3ImageProcessorPil
from transformers.models.owlv2.image_processing_pil_owlv2 import Owlv2ImageProcessorPil
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from moderator.errors import SignalFailed
from moderator.signals.signal import EXAMPLE_ENCODER, Context, ModelHost
from moderator.vlm.model_folder import MANIFEST_FILE, list_digests
from tests.support.clip_models import save_clip_tokenizer

VOCABULARY_SIZE = 320
#: So that numbers can be compared.
HOST = ModelHost("cpu", "float32")

GEMMA_TOKENS = {
    "image_token": "<image_soft_token>",
    "boi_token": "<start_of_image>",
    "eoi_token": "<end_of_image>",
}
GEMMA_TEMPLATE = (
    "<bos>{% for m in messages %}{% for c in m['content'] %}{% if c['type'] == 'image' %}<start_of_image>"
    "{% else %}{{ c['text'] }}{% endif %}{% endfor %}{% endfor %} Yes or No?"
)
QWEN_TOKENS = {
    "image_token": "<|image_pad|>",
    "video_token": "<|video_pad|>",
    "vision_start_token": "<|vision_start|>",
    "vision_end_token": "<|vision_end|>",
}
QWEN_TEMPLATE = (
    "{% for m in messages %}<bos>{{ m['role'] }}: {% for c in m['content'] %}{% if c['type'] == 'image' %}"
    "<|vision_start|><|image_pad|><|vision_end|>{% else %}{{ c['text'] }}{% endif %}{% endfor %}{% endfor %}"
    "{% if add_generation_prompt %}<bos>assistant: {% endif %}"
)
TOWER = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}


def save_shieldgemma(folder: Path) -> Path:
    """ShieldGemma 2."""
    tokenizer = letters(GEMMA_TOKENS, GEMMA_TEMPLATE)
    config = ShieldGemma2Config(
        text_config={
            **TOWER,
            "model_type": "gemma3_text",
            "vocab_size": VOCABULARY_SIZE,
            "num_key_value_heads": 2,
            "head_dim": 8,
            "query_pre_attn_scalar": 8,
        },
        vision_config={**TOWER, "model_type": "siglip_vision_model", "image_size": 32, "patch_size": 8},
        mm_tokens_per_image=4,
        image_token_index=tokenizer.convert_tokens_to_ids("<image_soft_token>"),
        boi_token_index=tokenizer.convert_tokens_to_ids("<start_of_image>"),
        eoi_token_index=tokenizer.convert_tokens_to_ids("<end_of_image>"),
        yes_token_index=tokenizer.convert_tokens_to_ids("Yes"),
        no_token_index=tokenizer.convert_tokens_to_ids("No"),
    )
    save(ShieldGemma2ForImageClassification, config, folder)
    Gemma3ImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    # As the published one is saved.
    (folder / "processor_config.json").write_text(
        '{"image_seq_length": 4, "processor_class": "ShieldGemma2Processor"}'
    )
    return pinned(folder)


def save_qwen(folder: Path) -> Path:
    """Qwen3-VL."""
    tokenizer = letters(QWEN_TOKENS, QWEN_TEMPLATE)
    ids = {f"{name}_id": tokenizer.convert_tokens_to_ids(token) for name, token in QWEN_TOKENS.items()}
    config = Qwen3VLConfig(
        text_config={
            **TOWER,
            "vocab_size": VOCABULARY_SIZE,
            "num_key_value_heads": 2,
            "head_dim": 8,
            "rope_parameters": {"rope_type": "default", "rope_theta": 10_000.0, "mrope_section": [2, 1, 1]},
        },
        vision_config={
            "depth": 2,
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_heads": 4,
            "patch_size": 8,
            "out_hidden_size": 32,
            "num_position_embeddings": 16,
            "deepstack_visual_indexes": [0],
        },
        **ids,
    )
    save(Qwen3VLForConditionalGeneration, config, folder)
    size = {"shortest_edge": 32 * 32, "longest_edge": 96 * 96}
    Qwen2VLImageProcessorPil(size=size, patch_size=8).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return pinned(folder)


def save_owlv2(folder: Path) -> Path:
    """OWLv2."""
    text = {
        **TOWER,
        "vocab_size": 600,
        "max_position_embeddings": 16,
        "bos_token_id": 598,
        "eos_token_id": 599,
    }
    vision = {**TOWER, "image_size": 64, "patch_size": 16}
    config = Owlv2Config(text_config=text, vision_config=vision, projection_dim=32)
    save(Owlv2ForObjectDetection, config, folder)
    Owlv2ImageProcessorPil(size={"height": 64, "width": 64}).save_pretrained(folder)
    save_clip_tokenizer(folder, 598, 599, 16)
    return pinned(folder)


#: Factor on the matrices of fresh weights.
SPREAD = 6.0
#: Likewise on those of a detector's heads, which are loud enough to give the same for all images.
HEAD_SPREAD = 0.1


def save(factory: Any, config: Any, folder: Path) -> None:
    """Fresh weights, louder than fresh ones are, so that images and words make a difference."""
    torch.manual_seed(7)
    model = factory(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim > 1:
                parameter.mul_(HEAD_SPREAD if "_head." in name else SPREAD)
    model.save_pretrained(folder)


def letters(tokens: dict[str, str], template: str) -> PreTrainedTokenizerFast:
    """A tokenizer of single bytes and the words Yes and No, with a model's own tokens."""
    words = [*bytes_to_unicode().values(), "Ye", "Yes", "No"]
    vocabulary = {word: n for n, word in enumerate(["<pad>", "<bos>", "<eos>", *tokens.values(), *words])}
    core = Tokenizer(models.BPE(vocabulary, [("Y", "e"), ("Ye", "s"), ("N", "o")]))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        bos_token="<bos>",
        eos_token="<eos>",
        pad_token="<pad>",
        extra_special_tokens=tokens,
        chat_template=template,
    )


def pinned(folder: Path) -> Path:
    (folder / MANIFEST_FILE).write_text(list_digests(folder))
    return folder


def context(folder: Path, host: ModelHost = HOST) -> Context:
    """What a signal with the model in a folder is created with."""
    return Context((folder / MANIFEST_FILE).read_bytes(), EXAMPLE_ENCODER, 4, folder, host)


def entry(folder: Path, root: Path) -> str:
    """The keys of a policy's entry that name a model below a folder."""
    file = folder / MANIFEST_FILE
    return f"file: {file.relative_to(root).as_posix()}, sha256: {sha256(file.read_bytes()).hexdigest()}"


def failing(error: str = "out of order") -> Any:
    def act(*_: object, **__: object) -> Any:
        raise SignalFailed(error)

    return act
