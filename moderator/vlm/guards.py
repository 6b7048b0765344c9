"""Vision-language models that say how probable it is that an image shows what a policy does not allow."""

from collections.abc import Sequence
from threading import Lock
from typing import Any, Protocol

import torch
from PIL import Image
from transformers import AutoModelForImageTextToText, ShieldGemma2ForImageClassification
from transformers.models.auto.processing_auto import PROCESSOR_MAPPING

from moderator.signals.signal import ModelHost
from moderator.vlm.model_folder import LOADED_MODELS, ModelFolder
from moderator.vlm.model_loading import load_model, load_processor, placement, weight_bytes

SHIELDGEMMA_2 = "shieldgemma2"
#: The answers of a model with a prompt of this project.
YES, NO = "Yes", "No"


class Guard(Protocol):
    """A loaded model. Thread-safe: one caller at a time."""

    def __call__(self, images: Sequence[Image.Image], question: str) -> list[float]:
        """Return the probability, in [0, 1], that each image (RGB) shows what the question describes."""
        ...


class ShieldGemma2:
    """ShieldGemma 2: the probability of Yes after its own prompt, with a policy as the question.

    Zeng et al., 2025, "ShieldGemma 2: Robust and Tractable Image Content Moderation".
    """

    def __init__(self, folder: ModelFolder, device: torch.device, dtype: torch.dtype) -> None:
        self._device, self._dtype = device, dtype
        self._model = load_model(ShieldGemma2ForImageClassification, folder, device, dtype)
        self._processor = load_processor(_processor_class(self._model.config), folder)
        self._turn = Lock()  # tokenizers do not take two callers at once

    @torch.inference_mode()
    def __call__(self, images: Sequence[Image.Image], question: str) -> list[float]:
        """Return the probability that each image violates the policy."""
        with self._turn:
            inputs = self._processor(
                images=list(images),
                custom_policies={"policy": question},
                policies=["policy"],
                return_tensors="pt",
            )
            outputs = self._model(**inputs.to(self._device, self._dtype), logits_to_keep=1)
        # The first column is Yes: the image violates the policy.
        return [float(value) for value in torch.softmax(outputs.logits.float(), dim=-1)[:, 0].cpu()]


class YesNoModel:
    """Any model of images and text to text, such as Qwen3-VL: the softmax of Yes and No as its next word."""

    def __init__(self, folder: ModelFolder, device: torch.device, dtype: torch.dtype) -> None:
        self._device, self._dtype = device, dtype
        self._model = load_model(AutoModelForImageTextToText, folder, device, dtype)
        self._processor = load_processor(_processor_class(self._model.config), folder)
        self._turn = Lock()  # tokenizers do not take two callers at once
        if not self._processor.chat_template:
            raise ValueError("it has no chat template, so it cannot be asked")
        self._answers = [self._token(YES), self._token(NO)]

    @torch.inference_mode()
    def __call__(self, images: Sequence[Image.Image], question: str) -> list[float]:
        """Return the probability of Yes for each image."""
        content = [{"type": "image"}, {"type": "text", "text": question}]
        with self._turn:
            prompt = self._processor.apply_chat_template(
                [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=False
            )
            inputs = self._processor(
                images=[[image] for image in images],
                text=[prompt] * len(images),
                padding=True,
                padding_side="left",  # the answer follows the last token
                return_tensors="pt",
            )
            outputs = self._model(**inputs.to(self._device, self._dtype), logits_to_keep=1)
        logits = outputs.logits[:, -1, self._answers]
        return [float(value) for value in torch.softmax(logits.float(), dim=-1)[:, 0].cpu()]

    def _token(self, word: str) -> int:
        tokens = self._processor.tokenizer.encode(word, add_special_tokens=False)
        if len(tokens) != 1:
            raise ValueError(f"'{word}' is {len(tokens)} tokens for it, and has to be one")
        return int(tokens[0])


def load_guard(folder: ModelFolder, host: ModelHost) -> Guard:
    """Load a guard, or return the one that is loaded.

    Raises:
        SignalFailed: the files are not the pinned ones, or no guard can be made of them.
        SettingsError: the device is unknown or missing.
    """
    device, dtype = placement(host)
    kind = ShieldGemma2 if folder.model_type == SHIELDGEMMA_2 else YesNoModel
    guard: Guard = LOADED_MODELS.get(
        folder, host, weight_bytes(folder, dtype), lambda: kind(folder, device, dtype), "guard"
    )
    return guard


def _processor_class(config: Any) -> Any:
    return PROCESSOR_MAPPING[type(config)]
