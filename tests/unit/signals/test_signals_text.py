"""Text in pictures: what bounds it, and that nothing calls home."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from moderator.errors import SignalFailed
from moderator.signals import text
from moderator.signals.base import EXAMPLE_ENCODER, Context, Frame
from moderator.signals.text import MAX_SIDE, MIN_SIDE, Text, TextOptions
from tests.tools import needs_extra

needs_extra("rapidocr", "text")
NO_FILE = Context(None, EXAMPLE_ENCODER, 4)


def reading(image: Image.Image, *words: str) -> float:
    return Text(TextOptions(words=words), NO_FILE).read(Frame(image)).score


def test_turned_and_inverted_text_is_read() -> None:
    image = text._drawn("cheap pills")
    turned = (image, image.rotate(180), image.rotate(90, expand=True), Image.eval(image, lambda v: 255 - v))
    assert min(reading(one, "cheap pills") for one in turned) > 0.7


def test_the_facts_hold_words_of_the_list_and_no_other_text() -> None:
    signal = Text(TextOptions(words=("Pills",)), NO_FILE)
    facts = signal.read(Frame(text._drawn("cheap pills\nfor John Doe"))).facts
    assert (facts["words"], facts["lines"]) == (["Pills"], 2)
    assert "john" not in str(facts).lower()


def test_a_frame_that_takes_too_long_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def clock() -> Iterator[float]:
        yield 0.0
        while True:
            yield 11.0

    ticks = clock()
    signal = Text(TextOptions(words=("pills",)), NO_FILE)
    monkeypatch.setattr(text.time, "monotonic", lambda: next(ticks))
    with pytest.raises(SignalFailed, match="more than 10 s"):
        signal.read(Frame(text._drawn("cheap pills")))


@pytest.mark.parametrize("size", [(1, 1), (1, 9000), (9000, 3), (5000, 4000)])
def test_pixels_are_bounded(size: tuple[int, int]) -> None:
    bounded = text._bounded(Image.new("RGB", size))
    assert MIN_SIDE <= min(bounded.size) <= max(bounded.size) <= MAX_SIDE


def test_noise_is_no_text() -> None:
    noise = np.random.default_rng(0).integers(0, 255, (300, 400, 3), dtype=np.uint8)
    assert reading(Image.fromarray(noise), "money") == 0


SCRIPT = """
import moderator
import onnxruntime
from moderator.signals.reading import make, read
from moderator.signals.registry import signal_class
from moderator.signals.base import Context
example = signal_class("onnx-classifier").examples()[0]
signal = make("onnx-classifier", example.options, Context(example.content, example.encoder, 4))
print(read(signal, example.frame).score)
"""


def test_the_runtime_reports_nothing(tmp_path: Path) -> None:
    # Its reporter begins with a data base below the cache folder; it keeps still where it sees a CI system.
    left = {"CI", "GITHUB_ACTIONS", "TF_BUILD", "ORT_DISABLE_TELEMETRY", "ORT_RUNNING_UNIT_TESTS"}
    environment = {key: value for key, value in os.environ.items() if key not in left}
    environment |= {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path), "PYTHONPATH": os.getcwd()}
    command = [sys.executable, "-c", SCRIPT]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert float(done.stdout) > 0.9
    assert not [path for path in tmp_path.rglob("*") if "onnxruntime" in path.name.lower()]
