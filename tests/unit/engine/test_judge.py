"""A judge by itself gives from what was stored the parts of the verdict that the engine gave from the image."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from moderator import Decision, Settings
from moderator.encoders.encoder import Embeddings
from moderator.engine.compiler import Compiler
from moderator.engine.engine import Engine
from moderator.engine.judge import Judge, Judged
from moderator.engine.resolver import PolicyResolver
from moderator.engine.stopwatch import Stopwatch
from moderator.errors import EmbeddingInvalid, PolicyUnreleased, SignalFailed
from moderator.events import Event
from moderator.policies.catalogue import Catalogue, Selection
from moderator.policies.schema import Policy
from moderator.scoring.thresholds import CompiledPolicy
from moderator.signals.evaluator import Readings, Signals
from moderator.signals.signal import Frame, SignalResult
from moderator.verdicts import Verdict
from tests.support.colour_encoder import ColourEncoder, picture
from tests.support.fake_signals import Whole, installed
from tests.support.policies import release

POLICY = """\
name: colours
version: {version}
safe: [green, blue, white]
signals: [{signals}]
categories:
  red: {{unsafe: [red], review: 0.01, block: {block}}}
{more}"""
LOOKS = "{name: looks, kind: whole}"
LATE = "{name: late, kind: slow, mark: x}"


def write(folder: Path) -> Path:
    """Version 1 is active, 2 the canary of half of the events, 3 and 4 are shadows, 5 is a draft."""
    versions = [
        (LOOKS, "  seen: {signal: looks, block: 0.9}\n", 0.5),
        (LOOKS, "  seen: {signal: looks, block: 0.4}\n", 0.999),
        ("", "", 0.999999),
        (f"{LOOKS}, {LATE}", "  seen: {signal: looks}\n  late: {signal: late, block: 0.5}\n", 0.6),
        ("", "", 0.02),
    ]
    (folder / "colours").mkdir(parents=True)
    for version, (signals, more, block) in enumerate(versions, 1):
        text = POLICY.format(version=version, signals=signals, more=more, block=block)
        (folder / "colours" / f"{version}.yaml").write_text(text)
        if version < 5:
            release(folder, "colours", version)
    (folder / "active.yaml").write_text(
        "colours: {active: 1, shadow: [3, 4], canary: {version: 2, percent: 50}}\n"
    )
    return folder


def brightness(_: Whole, frame: Frame) -> SignalResult:
    assert frame.image is not None
    value = float(np.asarray(frame.image).mean() / 255)
    return SignalResult(value, {"mean": round(value, 3)}, unsure=value > 0.9)


@pytest.fixture(autouse=True)
def _kinds(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with installed(monkeypatch):
        monkeypatch.setattr(Whole, "read", brightness)
        yield


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(policies=write(tmp_path / "p"), default_policy="colours", cache=tmp_path / "cache")


class Stored:
    """What an archive holds of an image."""

    def __init__(self, embeddings: Embeddings, judged: Judged) -> None:
        self.embeddings = np.frombuffer(embeddings.tobytes(), np.float32).reshape(embeddings.shape)
        self.readings: Readings = dict(judged.readings)


def by_engine(engine: Engine, data: bytes, event: Event) -> tuple[Verdict, Stored]:
    watch = Stopwatch()
    selection = engine.resolver.select_for(event)
    prepared = engine.preparer.prepare(data, selection)
    specs = [spec for policy in selection.shadows for spec in policy.signals]
    beside = engine.preparer.read_for_shadows(data, specs)
    embeddings = engine.embed(prepared.pixels)
    judged = engine.judge(event, prepared, embeddings, watch, beside)
    return engine.verdict(event, prepared, judged, watch), Stored(embeddings, judged)


def bare_judge(settings: Settings) -> tuple[Judge, PolicyResolver]:
    """A judge of another process, with nothing of the engine's but the compiled policies on the disk."""
    encoder = ColourEncoder()
    signals = Signals((settings.policies,), encoder.identity, encoder.dimension)
    judge = Judge(Compiler(encoder, settings.cache), signals)
    return judge, PolicyResolver.from_settings(settings)


def event(number: int, policy: str | None = None) -> Event:
    body = {"id": f"e{number}", "source": "s", "policy": policy, "image": {"inline": "eA=="}}
    return Event.model_validate(body)


def assert_same(verdict: Verdict, judged: Judged) -> None:
    found = judged.judgement
    assert (verdict.policy.version, verdict.policy.digest) == (judged.policy.version, judged.policy.digest)
    assert (verdict.decision, verdict.is_safe) == (found.decision, found.is_safe)
    assert (verdict.safe_score, verdict.unsafe_score) == (found.safe_score, found.unsafe_score)
    assert verdict.categories == found.categories
    assert verdict.signals == judged.signals
    assert verdict.shadow == judged.shadows


def test_a_bare_judge_gives_the_same_from_what_was_stored(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With shadows, and a canary: which version decides is the resolver's part."""
    engine = Engine(settings, encoder=ColourEncoder())
    images = [picture(colour) for colour in ("red", "green", "blue", "white", "#804040", "#ff8080")]
    events = [event(number) for number in range(4 * len(images))]
    stored = [by_engine(engine, images[n % len(images)], one) for n, one in enumerate(events)]
    engine.close()
    assert {verdict.decision for verdict, _ in stored} == {Decision.ALLOW, Decision.REVIEW, Decision.BLOCK}
    assert {verdict.policy.version for verdict, _ in stored} == {1, 2}, "the canary decides for some"
    assert {len(verdict.shadow) for verdict, _ in stored} == {2}
    assert not any(shadow.error for verdict, _ in stored for shadow in verdict.shadow)

    monkeypatch.setattr(Whole, "read", lambda *_: pytest.fail("a signal was read again"))
    judge, resolver = bare_judge(settings)
    for one, (verdict, kept) in zip(events, stored, strict=True):
        assert_same(verdict, judge.judge(kept.embeddings, kept.readings, resolver.select_for(one)))


def test_any_version_may_be_asked_what_it_would_have_said(settings: Settings) -> None:
    """As a back-test and a page with live scores do: which versions judge is an argument."""
    engine = Engine(settings, encoder=ColourEncoder())
    verdict, kept = by_engine(engine, picture("#804040"), event(0, "colours@1"))
    judge, resolver = bare_judge(settings)
    catalogue = resolver.catalogue
    draft = judge.judge(kept.embeddings, kept.readings, Selection(catalogue.get("colours", 5)))
    assert verdict.decision is not Decision.BLOCK
    assert draft.judgement.decision is Decision.BLOCK
    assert draft.judgement.categories["red"].score == verdict.categories["red"].score
    with pytest.raises(SignalFailed, match="late was not read"):
        judge.judge(kept.embeddings, kept.readings, Selection(catalogue.get("colours", 4)))
    with pytest.raises(EmbeddingInvalid):
        judge.judge(kept.embeddings * np.nan, kept.readings, Selection(catalogue.get("colours", 1)))


def test_what_was_not_seen_is_not_allowed(settings: Settings) -> None:
    """Of an animation with a frame unlike all judged ones, by the version that decides and by shadows."""
    engine = Engine(settings, encoder=ColourEncoder())
    _, kept = by_engine(engine, picture("green"), event(0, "colours@1"))
    judge, resolver = bare_judge(settings)
    catalogue = resolver.catalogue
    selection = Selection(catalogue.get("colours", 1), (catalogue.get("colours", 3),))
    seen = judge.judge(kept.embeddings, kept.readings, selection)
    unseen = judge.judge(kept.embeddings, kept.readings, selection, unseen=True)
    assert (seen.judgement.decision, seen.shadows[0].decision) == (Decision.ALLOW, Decision.ALLOW)
    assert (unseen.judgement.decision, unseen.shadows[0].decision) == (Decision.REVIEW, Decision.REVIEW)
    assert not unseen.judgement.is_safe
    assert unseen.judgement.categories == seen.judgement.categories
    _, red = by_engine(engine, picture("red"), event(0, "colours@1"))
    assert judge.judge(red.embeddings, red.readings, selection, True).judgement.decision is Decision.BLOCK


def test_whatever_has_the_prompts_as_vectors_will_do(settings: Settings) -> None:
    encoder = ColourEncoder()
    compiled = Compiler(encoder, settings.cache).compile(Catalogue(settings.policies).get("colours", 3))

    class Kept:
        def compile(self, policy: Policy) -> CompiledPolicy:
            return {compiled.policy.digest: compiled}[policy.digest]

    judge = Judge(Kept(), Signals((), encoder.identity, encoder.dimension))
    judged = judge.judge(encoder.embed_texts(["red"]), {}, Selection(compiled.policy))
    assert judged.judgement.unsafe_score > 0.9


def test_a_resolver_lets_drafts_judge_only_where_it_is_told_to(settings: Settings) -> None:
    with pytest.raises(PolicyUnreleased):
        PolicyResolver.from_settings(settings).select("colours@5", "k")
    found = PolicyResolver.from_settings(settings, drafts=True).select("colours@5", "k")
    assert (found.decides.version, found.shadows) == (5, ())


def test_importing_the_judge_loads_no_image_library_and_no_model() -> None:
    program = (
        "import sys, moderator.engine.judge, moderator.engine.resolver, moderator.engine.compiler\n"
        "heavy = {'PIL', 'torch', 'transformers', 'onnxruntime', 'openvino', 'httpcore2', 'redis', 'celery'}\n"
        "print(sorted(heavy & {name.partition('.')[0] for name in sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
