"""Guards against the library's own forward, on tiny models of the true architectures."""

from pathlib import Path

import pytest
import torch
from PIL import Image
from transformers import AutoTokenizer, Qwen3VLForConditionalGeneration, ShieldGemma2ForImageClassification
from transformers.models.gemma3.image_processing_pil_gemma3 import Gemma3ImageProcessorPil
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil
from transformers.models.shieldgemma2.processing_shieldgemma2 import ShieldGemma2Processor

from moderator.errors import SignalFailed
from moderator.vlm.guards import load_guard
from moderator.vlm.model_folder import ModelFolder
from tests.support.clip_models import PHOTOGRAPHS
from tests.support.vlm_models import HOST, QWEN_TEMPLATE, context

QUESTION = "No Weapons: The image shall not contain a gun or a rifle."
OTHER = "No Animals: The image shall not contain a cat."


@pytest.fixture(scope="module")
def photographs() -> list[Image.Image]:
    """Of different shapes, so that they become different numbers of tokens."""
    return [
        Image.open(PHOTOGRAPHS / name).convert("RGB").resize(size)
        for name, size in (("cat.jpg", (200, 60)), ("rocket.jpg", (40, 40)), ("coffee.jpg", (70, 90)))
    ]


def probabilities(folder: Path, images: list[Image.Image], question: str) -> list[float]:
    return load_guard(ModelFolder.of("second-opinion", context(folder)), HOST)(images, question)


@torch.inference_mode()
def test_shieldgemma_is_the_librarys(shieldgemma: Path, photographs: list[Image.Image]) -> None:
    model = ShieldGemma2ForImageClassification.from_pretrained(shieldgemma, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(shieldgemma)
    processor = ShieldGemma2Processor(
        Gemma3ImageProcessorPil.from_pretrained(shieldgemma),
        tokenizer,
        chat_template=tokenizer.chat_template,
        image_seq_length=4,
    )
    policies = {"weapons": QUESTION, "animals": OTHER}
    inputs = processor(
        images=photographs, custom_policies=policies, policies=list(policies), return_tensors="pt"
    )
    # All images and policies in one batch; the first column is Yes, which means a violation.
    expected = model(**inputs).probabilities[:, 0].reshape(len(photographs), len(policies))
    for column, question in enumerate(policies.values()):
        found = probabilities(shieldgemma, photographs, question)
        assert found == pytest.approx(expected[:, column].tolist(), abs=1e-5)
    assert expected.std() > 1e-3, "all answers are the same; the test shows nothing"


@torch.inference_mode()
def test_qwen_is_the_librarys(qwen: Path, photographs: list[Image.Image]) -> None:
    """One image at a time, without padding, with all logits, and inputs put together by hand."""
    model = Qwen3VLForConditionalGeneration.from_pretrained(qwen, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(qwen)
    images = Qwen2VLImageProcessorPil.from_pretrained(qwen)
    answers = [tokenizer.convert_tokens_to_ids(word) for word in ("Yes", "No")]
    content = [{"type": "image"}, {"type": "text", "text": QUESTION}]
    prompt = tokenizer.apply_chat_template(
        [{"role": "user", "content": content}],
        chat_template=QWEN_TEMPLATE,
        add_generation_prompt=True,
        tokenize=False,
    )
    expected, counts = [], set()
    for photograph in photographs:
        pixels = images(photograph, return_tensors="pt")
        count = int(pixels["image_grid_thw"].prod()) // 4
        tokens = tokenizer(prompt.replace("<|image_pad|>", "<|image_pad|>" * count), return_tensors="pt")
        kinds = (tokens["input_ids"] == model.config.image_token_id).int()
        logits = model(
            input_ids=tokens["input_ids"],
            attention_mask=tokens["attention_mask"],
            mm_token_type_ids=kinds,
            **pixels,
        ).logits
        assert logits.shape[1] == tokens["input_ids"].shape[1]
        counts.add(logits.shape[1])
        expected.append(torch.softmax(logits[0, -1, answers], dim=-1)[0].item())
    # In one batch, which has to be padded.
    assert len(counts) == len(photographs)
    assert probabilities(qwen, photographs, QUESTION) == pytest.approx(expected, abs=1e-5)
    assert max(expected) - min(expected) > 1e-3, "all answers are the same; the test shows nothing"


def test_weights_that_are_missing_are_not_made_up(qwen: Path, tmp_path: Path) -> None:
    import shutil

    from safetensors.torch import load_file, save_file

    from tests.support.vlm_models import pinned

    folder = shutil.copytree(qwen, tmp_path / "qwen")
    weights = load_file(folder / "model.safetensors")
    weights.pop(next(name for name in weights if "layers.1" in name))
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(SignalFailed, match="1 weights are missing"):
        probabilities(pinned(folder), [Image.new("RGB", (64, 64))], QUESTION)


def test_a_model_of_another_sort_is_refused(owlv2: Path) -> None:
    with pytest.raises(SignalFailed, match="cannot be loaded"):
        probabilities(owlv2, [Image.new("RGB", (64, 64))], QUESTION)
