"""The kind `detector` against the library's own forward and post-processing, and what it counts."""

import threading
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from transformers import AutoTokenizer, Owlv2ForObjectDetection
from transformers.models.owlv2.image_processing_pil_owlv2 import Owlv2ImageProcessorPil

from moderator.errors import SignalFailed, SignalTimeout
from moderator.signals.signal import Frame
from moderator.signals.signal_calls import make_kind, read_frames
from moderator.signals.signal_registry import option_problems
from moderator.vlm.boxes import FoundBox, distinct
from moderator.vlm.detector import BOXES_SHOWN_MAX, MAX_SIDE, Detector
from moderator.vlm.model_folder import ModelFolder
from moderator.vlm.owlv2 import load_owlv2
from tests.support.clip_models import PHOTOGRAPHS
from tests.support.vlm_models import HOST, context

WORDS = ("a person", "a cat", "a red cup")
#: Fresh weights give scores around this.
THRESHOLD = 0.5


@pytest.fixture(scope="module")
def photographs() -> list[Image.Image]:
    """One wide, one high, one square; small enough for the detector to see all pixels."""
    return [
        Image.open(PHOTOGRAPHS / name).convert("RGB").resize(size)
        for name, size in (("cat.jpg", (200, 120)), ("rocket.jpg", (90, 150)), ("coffee.jpg", (128, 128)))
    ]


@torch.inference_mode()
def test_boxes_are_the_librarys(owlv2: Path, photographs: list[Image.Image]) -> None:
    model = Owlv2ForObjectDetection.from_pretrained(owlv2, dtype=torch.float32).eval()
    images = Owlv2ImageProcessorPil.from_pretrained(owlv2)
    texts = AutoTokenizer.from_pretrained(owlv2)(
        list(WORDS), padding="max_length", max_length=16, return_tensors="pt"
    )
    pixels = images(photographs, return_tensors="pt")["pixel_values"]
    repeated = {name: texts[name].repeat(len(photographs), 1) for name in ("input_ids", "attention_mask")}
    outputs = model(pixel_values=pixels, **repeated)
    sizes = [(image.height, image.width) for image in photographs]
    expected = images.post_process_object_detection(outputs, THRESHOLD, sizes)
    found = load_owlv2(ModelFolder.of("detector", context(owlv2)), HOST)(photographs, WORDS, THRESHOLD)
    assert len({(n, one.word) for n, image in enumerate(found) for one in image}) > 3, "the test shows little"
    assert 0 < sum(map(len, found)) < outputs.logits.shape[:2].numel(), (
        "the threshold is never passed, or always"
    )
    for ours, theirs, image in zip(found, expected, photographs, strict=True):
        side = max(image.size)
        order = torch.argsort(theirs["scores"], descending=True, stable=True)
        assert [one.score for one in ours] == pytest.approx(theirs["scores"][order].tolist(), abs=1e-5)
        assert [one.word for one in ours] == theirs["labels"][order].tolist()
        corners = [[one.left, one.top, one.right, one.bottom] for one in ours]
        torch.testing.assert_close(
            torch.tensor(corners).reshape(-1, 4) * side, theirs["boxes"][order], atol=1e-3, rtol=1e-5
        )


def made(folder: Path, **options: Any) -> Detector:
    signal = make_kind("detector", {"words": WORDS, **options}, context(folder))
    assert isinstance(signal, Detector)
    return signal


def box(score: float, left: float, top: float, side: float = 0.1, word: int = 0) -> FoundBox:
    return FoundBox(score, word, left, top, left + side, top + side)


THREE = [box(0.3, 0.5, 0), box(0.9, 0, 0), box(0.8, 0.01, 0.01, word=1), box(0.6, 0.2, 0.3)]


class Scripted:
    """Finds the same in each image."""

    def __init__(self, found: list[FoundBox]) -> None:
        self.found = found
        self.go_on = threading.Event()
        self.go_on.set()
        self.sizes: list[tuple[int, int]] = []

    def check_words(self, words: tuple[str, ...]) -> None: ...

    def __call__(self, images: list[Image.Image], *_: object) -> list[list[FoundBox]]:
        self.go_on.wait(30)
        self.sizes += [image.size for image in images]
        return [self.found] * len(images)


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> Scripted:
    model = Scripted(THREE)
    monkeypatch.setattr("moderator.vlm.owlv2.load_owlv2", lambda *_: model)
    return model


@pytest.mark.parametrize(("at_least", "score"), [(1, 0.9), (2, 0.6), (3, 0.3), (4, 0.0)])
def test_the_score_is_that_of_the_box_that_completes_the_count(
    owlv2: Path, scripted: Scripted, at_least: int, score: float
) -> None:
    result = read_frames(made(owlv2, at_least=at_least), [Frame(Image.new("RGB", (100, 50)))])
    assert (result.score, result.facts["count"]) == (score, 3)


def test_boxes_are_in_pixels_of_the_upright_picture(owlv2: Path, scripted: Scripted) -> None:
    """Of the picture, not of the copy that was decoded at a reduced size."""
    result = read_frames(made(owlv2), [Frame(Image.new("RGB", (100, 50)), size=(2000, 1000))])
    first, second, third = result.facts["boxes"]
    assert first == {"word": "a person", "score": 0.9, "x": 0, "y": 0, "width": 200, "height": 200}
    assert (second["x"], second["y"], second["height"]) == (400, 600, 200)
    assert (third["x"], third["y"]) == (1000, 0)


def test_boxes_end_where_the_picture_does(owlv2: Path, scripted: Scripted) -> None:
    scripted.found = [FoundBox(0.9, 0, -0.2, 0.4, 1.3, 0.9)]
    (shown,) = read_frames(made(owlv2), [Frame(Image.new("RGB", (100, 50)))]).facts["boxes"]
    assert (shown["x"], shown["y"], shown["width"], shown["height"]) == (0, 40, 100, 10)


def test_the_verdict_shows_a_bounded_number(owlv2: Path, scripted: Scripted) -> None:
    scripted.found = [box(0.5, n % 17 / 17, n // 17 / 17, 0.01) for n in range(200)]
    facts = read_frames(made(owlv2), [Frame(Image.new("RGB", (100, 100)))]).facts
    assert (facts["count"], len(facts["boxes"])) == (200, BOXES_SHOWN_MAX)


def test_the_best_frame_counts(owlv2: Path, scripted: Scripted, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Scripted, "__call__", lambda _, images, *__: [[], THREE, []][: len(images)])
    frames = [Frame(Image.new("RGB", (10, 10))) for _ in range(3)]
    assert read_frames(made(owlv2, batch=8), frames).score == 0.9


def test_thin_and_large_images_are_bounded(owlv2: Path, scripted: Scripted) -> None:
    for size in ((1, 1), (1, 30_000), (4000, 3000)):
        read_frames(made(owlv2), [Frame(Image.new("RGB", size))])
    assert max(side for size in scripted.sizes for side in size) == MAX_SIDE


def test_any_size_of_image(owlv2: Path) -> None:
    signal = made(owlv2, threshold=0.01)
    for size in ((1, 1), (1, 3000), (3000, 5)):
        assert 0 <= read_frames(signal, [Frame(Image.new("RGB", size, "red"))]).score <= 1


def test_a_model_that_hangs(owlv2: Path, scripted: Scripted) -> None:
    scripted.go_on.clear()
    image = Frame(Image.new("RGB", (10, 10)))
    start = time.monotonic()
    with pytest.raises(SignalTimeout):
        read_frames(made(owlv2, seconds=0.2), [image])
    result = read_frames(made(owlv2, seconds=0.2, on_timeout="review"), [image])
    assert (result.score, result.unsure) == (0, True)
    assert "took more than 0.2 s" in result.facts["timed_out"]
    assert time.monotonic() - start < 5
    scripted.go_on.set()


def test_distinct_things() -> None:
    assert [one.score for one in distinct(THREE, 0.5)] == [0.9, 0.6, 0.3]
    assert [one.score for one in distinct(THREE, 0.9)] == [0.9, 0.8, 0.6, 0.3]
    assert distinct([], 0.5) == []
    assert len(distinct([box(0.5, 0, 0, 0.0), box(0.4, 0, 0, 0.0)], 0.5)) == 2  # empty boxes overlap nothing


def test_long_words_and_other_models_are_refused(owlv2: Path, qwen: Path) -> None:
    with pytest.raises(SignalFailed, match="tokens"):
        made(owlv2, words=["a person who holds a cup of coffee"]).load()
    with pytest.raises(SignalFailed, match="the detector takes an owlv2"):
        made(qwen)


@pytest.mark.parametrize(
    ("options", "key"),
    [
        ({"words": []}, "words"),
        ({"words": [" "]}, "words"),
        ({"words": ["x" * 101]}, "words"),
        ({"words": ["x"] * 51}, "words"),
        ({"words": "a person"}, "words"),
        ({"words": ["x"], "at_least": 0}, "at_least"),
        ({"words": ["x"], "at_least": 3.5}, "at_least"),
        ({"words": ["x"], "threshold": 0}, "threshold"),
        ({"words": ["x"], "threshold": float("nan")}, "threshold"),
        ({"words": ["x"], "overlap": 2}, "overlap"),
        ({"words": ["x"], "seconds": 3600}, "seconds"),
        ({"words": ["x"], "batch": 0}, "batch"),
        ({"words": ["x"], "on_timeout": "allow"}, "on_timeout"),
        ({"words": ["x"], "device": "cuda"}, "device"),
    ],
)
def test_hostile_options_are_refused(options: dict[str, Any], key: str) -> None:
    assert {found for found, _ in option_problems("detector", options, True)} == {key}
