"""Text in pictures: what bounds it, and that nothing calls home."""

import os
import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from moderator.errors import SignalFailed
from moderator.signals.bounded_image import bounded
from moderator.signals.kinds import text
from moderator.signals.kinds.text import MAX_SIDE, MIN_SIDE, Text, TextOptions
from moderator.signals.signal import EXAMPLE_ENCODER, Context, Frame
from tests.support.tools import needs_extra

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


def test_people_may_look_at_a_frame_that_takes_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """With what was read by then."""
    now = [0.0]
    monkeypatch.setattr(text.time, "monotonic", lambda: now[0])
    signal = Text(TextOptions(words=("pills",), on_timeout="review"), NO_FILE)
    recognize = signal._reader.recognize_txt

    def slow(lines: list[np.ndarray]) -> object:
        now[0] += 11
        return recognize(lines)

    monkeypatch.setattr(text, "BATCH", 1)
    monkeypatch.setattr(signal._reader, "recognize_txt", slow)
    found = signal.read(Frame(text._drawn("cheap pills\nfor John Doe\nand others")))
    assert (found.unsure, found.facts["words"], found.facts["lines"]) == (True, ["pills"], 1)
    assert "(1 of 3 lines were read)" in found.facts["timed_out"]
    assert found.score > 0.7
    monkeypatch.undo()
    whole = signal.read(Frame(text._drawn("cheap pills")))
    assert (whole.unsure, "timed_out" in whole.facts) == (False, False)


def test_what_is_read_at_once_is_bounded() -> None:
    """However long the lines: the reader makes all of them as wide as the widest."""
    lines = [
        np.zeros((10, width, 3), dtype=np.uint8)
        for width in (50, 900, 50, 50, 3000, 20, 20, 20, 20, 20, 20, 20)
    ]
    parts = [part for line in lines for part in text._parts(line)]
    portions = list(text._portions(parts))
    assert [part for portion in portions for part in portion] == parts
    for portion in portions:
        ratio = max(part.shape[1] / part.shape[0] for part in portion)
        assert len(portion) <= text.BATCH
        assert len(portion) * ratio <= text.RATIO
    assert max(map(len, portions)) > 1


def test_parts_of_a_long_line_hold_all_of_it_and_overlap() -> None:
    line = np.arange(3456, dtype=np.uint32)[None].repeat(10, axis=0)[:, :, None]
    columns = [part[0, :, 0].tolist() for part in text._parts(line)]
    assert sorted({column for part in columns for column in part}) == list(range(3456))
    for left, right in pairwise(columns):
        assert len(set(left) & set(right)) >= text.LINE_OVERLAP_RATIO * 10


def test_sessions_keep_nothing_for_each_shape() -> None:
    """A plan of 0.1 MB for each width of a line is gigabytes in a day."""
    signal = Text(TextOptions(words=("pills",)), NO_FILE)
    for part in (signal._reader.text_det, signal._reader.text_cls, signal._reader.text_rec):
        options = part.session.session.get_session_options()
        assert not options.enable_mem_pattern
        assert not options.enable_cpu_mem_arena
        assert options.intra_op_num_threads == 1


@pytest.mark.parametrize("size", [(1, 1), (1, 9000), (9000, 3), (5000, 4000)])
def test_pixels_are_bounded(size: tuple[int, int]) -> None:
    image = bounded(Image.new("RGB", size), MAX_SIDE, MIN_SIDE)
    assert MIN_SIDE <= min(image.size) <= max(image.size) <= MAX_SIDE


def test_noise_is_no_text() -> None:
    noise = np.random.default_rng(0).integers(0, 255, (300, 400, 3), dtype=np.uint8)
    assert reading(Image.fromarray(noise), "money") == 0


SCRIPT = """
import moderator
import onnxruntime
from moderator.signals.signal_calls import make_kind, read
from moderator.signals.signal_registry import KINDS
from moderator.signals.signal import Context
example = KINDS.get("onnx-classifier").examples()[0]
signal = make_kind("onnx-classifier", example.options, Context(example.content, example.encoder, 4))
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
