"""The kind `second-opinion`: what it asks, what it clears, and what it leaves to people."""

import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from pydantic import ValidationError

from moderator.errors import SignalBusy, SignalFailed, SignalTimeout
from moderator.signals.question import Question
from moderator.signals.signal import Frame
from moderator.signals.signal_calls import make_kind, read_frames
from moderator.signals.signal_registry import option_problems
from moderator.vlm import second_opinion
from moderator.vlm.second_opinion import MAX_SIDE, SecondOpinion
from moderator.vlm.wording import LIST_CHARACTERS_MAX, shieldgemma_policy, yes_no_prompt
from tests.support.vlm_models import context

WEAPONS = Question("weapons", ("a gun", "a rifle", "a knife held as a weapon"), ("a toy water pistol",))
ANIMALS = Question("live-animals", ("a cat",))
SIGNAL_ONLY = Question("seen-before")


def made(folder: Path, **options: Any) -> SecondOpinion:
    signal = make_kind("second-opinion", {"share": 1, **options}, context(folder))
    assert isinstance(signal, SecondOpinion)
    return signal


def frame(*questions: Question, size: tuple[int, int] = (40, 30), colour: str = "red") -> Frame:
    return Frame(Image.new("RGB", size, colour), questions=questions)


@pytest.fixture
def answering(qwen: Path, monkeypatch: pytest.MonkeyPatch) -> "Iterator[Scripted]":
    """A guard that answers by the words of the question."""
    scripted = Scripted()
    monkeypatch.setattr("moderator.vlm.guards.load_guard", lambda *_: scripted)
    yield scripted
    scripted.go_on.set()


class Scripted:
    def __init__(self) -> None:
        self.answers = {"gun": 0.9, "cat": 0.02, "known": 0.3}
        self.asked: list[tuple[int, str]] = []
        self.sizes: list[tuple[int, int]] = []
        self.go_on = threading.Event()
        self.go_on.set()

    def __call__(self, images: Sequence[Image.Image], question: str) -> list[float]:
        self.go_on.wait(30)
        self.asked.append((len(images), question))
        self.sizes += [image.size for image in images]
        return [next(value for word, value in self.answers.items() if word in question)] * len(images)


def test_the_real_model_is_asked(shieldgemma: Path, qwen: Path) -> None:
    for folder in (shieldgemma, qwen):
        result = read_frames(made(folder), [frame(WEAPONS, ANIMALS)])
        assert list(result.facts["answers"]) == ["weapons", "live-animals"]
        assert 0 < result.score == pytest.approx(max(result.facts["answers"].values()), abs=1e-4)
        assert result.facts["model"].startswith(folder.name)
        assert (result.clears, result.unsure) == (frozenset(), False)


def test_any_size_of_image(qwen: Path) -> None:
    signal = made(qwen)
    for size in ((1, 1), (1, 3000), (3000, 5)):
        assert 0 <= read_frames(signal, [frame(WEAPONS, size=size)]).score <= 1


def test_an_answer_clears_what_the_policy_says_and_nothing_else(qwen: Path, answering: Scripted) -> None:
    asked = (WEAPONS, ANIMALS)
    assert read_frames(made(qwen), [frame(*asked)]).clears == frozenset()
    both = made(qwen, clears={"weapons": 0.1, "live-animals": 0.1})
    result = read_frames(both, [frame(*asked)])
    assert (result.score, result.clears) == (0.9, {"live-animals"})
    assert result.facts["cleared"] == ["live-animals"]
    assert read_frames(made(qwen, clears={"live-animals": 0.02}), [frame(*asked)]).clears == frozenset()


def test_all_frames_have_to_be_clear(
    qwen: Path, answering: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    signal = made(qwen, clears={"live-animals": 0.1}, batch=8)
    monkeypatch.setattr(Scripted, "__call__", lambda self, images, _: [0.01, 0.4, 0.02][: len(images)])
    result = read_frames(signal, [frame(ANIMALS), frame(ANIMALS), frame(ANIMALS)])
    assert (result.score, result.clears) == (0.4, frozenset())


def test_a_category_without_words_stays_with_people(qwen: Path, answering: Scripted) -> None:
    result = read_frames(made(qwen), [frame(SIGNAL_ONLY)])
    assert (result.score, result.unsure, result.facts["asked"]) == (0, True, [])
    own = made(qwen, questions={"seen-before": "a known picture"})
    assert read_frames(own, [frame(SIGNAL_ONLY)]).facts["answers"] == {"seen-before": 0.3}
    assert "a known picture" in answering.asked[0][1]


def test_images_of_one_question_form_batches(qwen: Path, answering: Scripted) -> None:
    signal = made(qwen, batch=3)
    answering.go_on.clear()
    threads = [
        threading.Thread(target=read_frames, args=(signal, [frame(question)]))
        for question in (WEAPONS, WEAPONS, ANIMALS, WEAPONS, WEAPONS)
    ]
    for thread in threads:
        thread.start()
        time.sleep(0.05)
    answering.go_on.set()
    for thread in threads:
        thread.join()
    assert [(count, "gun" in text) for count, text in answering.asked] in (
        [(1, True), (3, True), (1, False)],
        [(1, True), (1, False), (3, True)],
    )


def test_a_model_that_hangs_runs_out_of_time_and_then_refuses(qwen: Path, answering: Scripted) -> None:
    signal = made(qwen, seconds=0.3)
    answering.go_on.clear()
    start = time.monotonic()
    with pytest.raises(SignalTimeout):
        read_frames(signal, [frame(WEAPONS)])
    assert 0.3 <= time.monotonic() - start < 3
    time.sleep(0.1)
    with pytest.raises(SignalBusy, match="has not answered"):
        read_frames(signal, [frame(WEAPONS)])
    answering.go_on.set()
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            assert read_frames(signal, [frame(WEAPONS)]).score == 0.9
            return
        except (SignalBusy, SignalTimeout):
            time.sleep(0.02)
    raise AssertionError("the model answers again and is not asked")


@pytest.mark.parametrize("answer", [float("nan"), float("inf"), -0.1, 1.1])
def test_what_is_no_probability_is_an_error(
    qwen: Path, answering: Scripted, monkeypatch: pytest.MonkeyPatch, answer: float
) -> None:
    answering.answers = {"gun": answer}
    with pytest.raises(SignalFailed, match="no probability"):
        read_frames(made(qwen, clears={"weapons": 0.5}), [frame(WEAPONS)])


def test_large_images_are_reduced(qwen: Path, answering: Scripted) -> None:
    read_frames(made(qwen), [frame(WEAPONS, size=(5000, 4000))])
    assert answering.sizes == [(MAX_SIDE, round(MAX_SIDE * 0.8))]


HOSTILE: list[tuple[dict[str, Any], str]] = [
    ({}, "share"),
    ({"share": 0}, "share"),
    ({"share": 1.5}, "share"),
    ({"share": "all"}, "share"),
    ({"share": True}, "share"),
    ({"share": float("nan")}, "share"),
    ({"share": 1, "seconds": 1e9}, "seconds"),
    ({"share": 1, "seconds": 0}, "seconds"),
    ({"share": 1, "batch": 10**6}, "batch"),
    ({"share": 1, "batch": 2.5}, "batch"),
    ({"share": 1, "clears": True}, "clears"),
    ({"share": 1, "clears": {"weapons": 0.9}}, "clears"),
    ({"share": 1, "clears": {"weapons": "0.1"}}, "clears"),
    ({"share": 1, "clears": {str(n): 0.1 for n in range(101)}}, "clears"),
    ({"share": 1, "questions": {"weapons": ""}}, "questions"),
    ({"share": 1, "questions": {"weapons": "x" * 601}}, "questions"),
    ({"share": 1, "sahre": 0.1}, "sahre"),
]


@pytest.mark.parametrize(("options", "key"), HOSTILE)
def test_hostile_options_are_refused(options: dict[str, Any], key: str) -> None:
    assert [found for found, _ in option_problems("second-opinion", options, True)] == [key]
    with pytest.raises(ValidationError):
        second_opinion.SecondOpinionOptions.model_validate(options)


def test_without_the_extra_the_remedy_is_named(qwen: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "scipy.ndimage", None)
    for act in (lambda: made(qwen), SecondOpinion.examples):
        with pytest.raises(SignalFailed, match=r"pip install 'moderator\[vlm\]'"):
            act()


def test_wording() -> None:
    assert shieldgemma_policy(WEAPONS, None) == (
        "No Weapons: The image shall not contain a gun, a rifle or a knife held as a weapon. "
        "Allowed: a toy water pistol."
    )
    assert shieldgemma_policy(ANIMALS, None) == "No Live Animals: The image shall not contain a cat."
    assert shieldgemma_policy(WEAPONS, "arms.") == "No Weapons: The image shall not contain arms."
    assert "Not allowed: a gun, a rifle or a knife held as a weapon. Allowed: a toy" in yes_no_prompt(
        WEAPONS, None
    )
    assert "Not allowed: arms.\n" in yes_no_prompt(WEAPONS, "arms")


def test_many_prompts_make_no_long_question() -> None:
    many = Question("weapons", tuple(f"{n} " + "x" * 250 for n in range(1000)))
    assert len(yes_no_prompt(many, None)) < LIST_CHARACTERS_MAX + 400
    assert "0 xxx" in yes_no_prompt(many, None)
