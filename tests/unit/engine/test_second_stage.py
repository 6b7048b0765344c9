"""Second opinions through the facade: who is asked, for which share, and what the verdict says."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest

from moderator import Decision, Moderator, Settings
from moderator.engine.judge import Judge, reconsider
from moderator.engine.second_stage import SAVED_QUESTIONS_MAX, TrafficShare
from moderator.errors import SignalTimeout
from moderator.events import Event
from moderator.scoring.opinions import OpinionOutcome
from moderator.signals.signal import Frame, SignalResult
from moderator.signals.signal_registry import KINDS
from moderator.verdicts import Verdict
from tests.support.colour_encoder import ColourEncoder, picture
from tests.support.fake_signals import Whole
from tests.support.policies import release

POLICY = """\
name: colours
version: {version}
safe: [green, blue]
signals: [{signals}]
categories:
  red: {{unsafe: [red], safe: [white], review: 0.5, block: never}}
  white: {{unsafe: [white], safe: [red], block: 0.6}}
{more}"""
GUARD = "{name: guard, kind: opinion}"
CATEGORY = "  guard: {signal: guard, review: 0.5, block: 0.9}\n"


class FakeOpinion(Whole):
    """Answers as the test says."""

    after_judging: ClassVar[bool] = True
    slow: ClassVar[bool] = True
    share = 1.0
    asked: ClassVar[list[list[Frame]]] = []
    answer: ClassVar[Callable[[], SignalResult]] = staticmethod(lambda: SignalResult(0.0))

    def read_all(self, frames: Sequence[Frame]) -> SignalResult:
        FakeOpinion.asked.append(list(frames))
        return FakeOpinion.answer()


@pytest.fixture(autouse=True)
def _kind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(KINDS.built_in, "opinion", f"{__name__}:FakeOpinion")
    monkeypatch.setitem(KINDS._loaded, "opinion", FakeOpinion)
    monkeypatch.setattr(FakeOpinion, "asked", [])
    monkeypatch.setattr(FakeOpinion, "answer", staticmethod(lambda: SignalResult(0.7, {"asked": ["red"]})))


def answering(monkeypatch: pytest.MonkeyPatch, answer: Callable[[], SignalResult]) -> None:
    monkeypatch.setattr(FakeOpinion, "answer", staticmethod(answer))


def write(folder: Path, first: tuple[str, str], second: tuple[str, str] = ("", "")) -> Path:
    """Version 1 is active; version 2 is its shadow."""
    (folder / "colours").mkdir(parents=True)
    for version, (signals, more) in enumerate((first, second), 1):
        text = POLICY.format(version=version, signals=signals, more=more)
        (folder / "colours" / f"{version}.yaml").write_text(text)
        release(folder, "colours", version)
    (folder / "active.yaml").write_text("colours: {active: 1, shadow: [2]}\n")
    return folder


def made(folder: Path, *versions: tuple[str, str]) -> Moderator:
    settings = Settings(
        policies=write(folder / "p", *versions), default_policy="colours", cache=folder / "c", threads=1
    )
    return Moderator(settings, encoder=ColourEncoder())


@pytest.fixture
def moderator(tmp_path: Path) -> Moderator:
    return made(tmp_path, (GUARD, CATEGORY))


def checked(moderator: Moderator, colour: str) -> Verdict:
    (verdict,) = moderator.check([picture(colour)])
    return verdict


def test_only_images_in_review_are_asked_about(moderator: Moderator) -> None:
    quiet, loud = checked(moderator, "green"), checked(moderator, "white")
    assert (quiet.decision, loud.decision, FakeOpinion.asked) == (Decision.ALLOW, Decision.BLOCK, [])
    assert quiet.signals == {"guard": {"kind": "opinion", "score": 0.0, "asked": []}}
    assert quiet.categories["guard"].decision is Decision.ALLOW
    verdict = checked(moderator, "red")
    ((frame,),) = FakeOpinion.asked
    assert frame.image is not None
    assert (frame.image.size, frame.size) == ((20, 10), (20, 10))
    (question,) = frame.questions
    assert (question.category, question.unsafe, question.safe) == ("red", ("red",), ("white",))
    assert verdict.decision is Decision.REVIEW
    assert verdict.signals["guard"] == {"kind": "opinion", "score": 0.7, "asked": ["red"], "outcome": "kept"}
    assert verdict.categories["guard"].decision is Decision.REVIEW
    assert verdict.timings_ms["opinion"] >= 0
    assert "opinion" not in quiet.timings_ms


def test_an_answer_blocks_or_clears(moderator: Moderator, monkeypatch: pytest.MonkeyPatch) -> None:
    answering(monkeypatch, lambda: SignalResult(0.95))
    verdict = checked(moderator, "red")
    assert (verdict.decision, verdict.top_category, verdict.unsafe_score) == (Decision.BLOCK, "guard", 0.95)
    assert verdict.signals["guard"]["outcome"] == "blocked"
    answering(monkeypatch, lambda: SignalResult(0.02, clears=frozenset({"red"})))
    verdict = checked(moderator, "red")
    assert (verdict.decision, verdict.is_safe, verdict.categories["red"].decided_by) == (
        Decision.ALLOW,
        True,
        "guard",
    )
    assert verdict.signals["guard"]["outcome"] == "cleared"
    written = verdict.model_dump(mode="json")
    assert written["categories"]["red"]["decided_by"] == "guard"
    assert "decided_by" not in written["categories"]["white"]
    assert Verdict.model_validate(written) == verdict


def broken() -> SignalResult:
    raise ZeroDivisionError("out of order")


def late() -> SignalResult:
    raise SignalTimeout("took too long")


@pytest.mark.parametrize("answer", [broken, late, lambda: SignalResult(float("nan")), lambda: None])
def test_a_failure_leaves_the_image_with_people(
    moderator: Moderator, monkeypatch: pytest.MonkeyPatch, answer: Any
) -> None:
    answering(monkeypatch, answer)
    verdict = checked(moderator, "red")
    assert (verdict.decision, verdict.error) == (Decision.REVIEW, None)
    assert verdict.categories["guard"].decision is Decision.REVIEW
    assert verdict.signals["guard"]["outcome"] == "failed"
    assert verdict.signals["guard"]["reason"].startswith("Signal")


def test_a_model_that_cannot_be_made_leaves_the_image_with_people(
    moderator: Moderator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FakeOpinion, "__init__", lambda *_: broken())
    assert checked(moderator, "green").decision is Decision.ALLOW
    verdict = checked(moderator, "red")
    assert (verdict.decision, verdict.signals["guard"]["outcome"]) == (Decision.REVIEW, "failed")


def test_beyond_the_share_nobody_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FakeOpinion, "share", 0.25)
    moderator = made(tmp_path, (GUARD, CATEGORY))
    verdicts = [checked(moderator, "red") for _ in range(9)]
    assert [v.signals["guard"]["outcome"] for v in verdicts] == ["kept", *["not-asked"] * 3] * 2 + ["kept"]
    assert {v.decision for v in verdicts} == {Decision.REVIEW}
    assert "share" in verdicts[1].signals["guard"]["reason"]
    assert verdicts[1].categories["guard"].decision is Decision.REVIEW


def test_shadows_ask_nobody(tmp_path: Path) -> None:
    moderator = made(tmp_path, ("", ""), (GUARD, CATEGORY))
    verdict = checked(moderator, "red")
    assert (verdict.decision, verdict.signals, FakeOpinion.asked) == (Decision.REVIEW, {}, [])
    (shadow,) = verdict.shadow
    assert (shadow.decision, shadow.error) == (Decision.REVIEW, None)


def test_a_shadow_is_not_judged_by_the_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answering(monkeypatch, lambda: SignalResult(0.95))
    verdict = checked(made(tmp_path, (GUARD, CATEGORY), (GUARD, CATEGORY)), "red")
    assert (verdict.decision, verdict.shadow[0].decision) == (Decision.BLOCK, Decision.REVIEW)


def test_without_second_opinions_nothing_changes(tmp_path: Path) -> None:
    verdict = checked(made(tmp_path, ("", "")), "red")
    assert (verdict.decision, verdict.signals) == (Decision.REVIEW, {})
    assert "opinion" not in verdict.timings_ms


def test_what_was_answered_can_be_replayed(moderator: Moderator, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the embeddings and readings alone; other questions find no answer."""
    answering(monkeypatch, lambda: SignalResult(0.02, clears=frozenset({"red"})))
    engine = moderator.engine
    event = Event.model_validate({"id": "e", "source": "s", "image": {"inline": "eA=="}})
    selection = engine.resolver.select_for(event)
    prepared = engine.preparer.prepare(picture("red"), selection)
    embeddings = engine.embed(prepared.pixels)
    judge = Judge(engine.compiler, engine.signals)
    first = judge.judge(embeddings, {}, selection)
    given = engine.second_stage.ask(picture("red"), first)
    assert (first.judgement.decision, given.judgement.decision) == (Decision.REVIEW, Decision.ALLOW)
    again = judge.judge(embeddings, given.opinions, selection)
    assert (again.judgement, again.signals, again.opinion) == (given.judgement, given.signals, given.opinion)
    other = {key + "0": reading for key, reading in given.opinions.items()}
    assert reconsider(first, other).judgement.decision is Decision.REVIEW
    assert reconsider(first, other).opinion is OpinionOutcome.NOT_ASKED
    assert judge.judge(embeddings, other, selection).judgement == first.judgement


@pytest.mark.parametrize("share", [0.01, 0.1, 0.25, 0.3, 0.5, 0.9, 1.0])
def test_a_share_is_kept_and_used(share: float) -> None:
    traffic = TrafficShare(share)
    admitted = 0
    for count in range(1, 1001):
        admitted += traffic.admit(True)
        assert admitted <= share * count + 1 + 1e-6
    assert admitted >= share * 1000 - 1


def test_a_quiet_time_saves_up_a_bounded_number() -> None:
    traffic = TrafficShare(0.5)
    assert not any(traffic.admit(False) for _ in range(1000))
    burst = [traffic.admit(True) for _ in range(30)]
    assert burst.index(False) <= 2 * SAVED_QUESTIONS_MAX
    assert sum(burst) <= SAVED_QUESTIONS_MAX + 15
