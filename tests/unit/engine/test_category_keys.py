"""What the keys of a category come to in a verdict, and on another encoder than the thresholds were measured on."""

import logging
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from moderator import Decision, Settings
from moderator.engine.compiler import Compiler
from moderator.engine.engine import Engine
from moderator.engine.judge import Judge
from moderator.engine.resolver import PolicyResolver
from moderator.engine.stopwatch import Stopwatch
from moderator.errors import EncoderForeign
from moderator.events import Event
from moderator.identity import Identity
from moderator.operations.doctor.policies import check_thresholds
from moderator.policies.schema import Policy
from moderator.signals.evaluator import Signals
from moderator.signals.kinds.linear_probe import Probe
from moderator.verdicts import CategorySeverity, Verdict
from tests.support.colour_encoder import ColourEncoder, picture
from tests.support.policies import release
from workers.policy_watch import PolicyWatch
from workers.worker_metrics import Metrics

HERE = ColourEncoder().identity
POLICY = """\
name: colours
version: {version}
safe: [green, blue]
signals: [{{name: near, kind: probe, file: near.probe, sha256: "{pin}", unsafe: [red]}}]
categories:
  red:
    unsafe: [red]
    safe: [white]
    probe: {{signal: near, weight: 0.5}}
    calibration: {{kind: platt, slope: 2, offset: -0.5}}
    review: 0.3
    block: {block}
    severity: high
    message: No red here.
  white: {{unsafe: [white], safe: [red], calibration: {{kind: isotonic, points: [[0, 0], [1, 0.9]]}}, block: never}}
  pale: {{when: white and not red, review: 0.5, block: 0.8, message: Too pale.}}
{encoders}"""
ENCODERS = """\
encoders:
- id: {id}
  revision: "{revision}"
  preprocessing: {preprocessing}
  categories: {{red: {{review: 0.001, block: never}}, white: {{block: never}}}}
"""


def encoders(identity: Identity) -> str:
    return ENCODERS.format(id=identity.id, revision=identity.revision, preprocessing=identity.preprocessing)


def write(folder: Path, *versions: str) -> Path:
    """Version 1, without encoders, is active, unless there is another."""
    (folder / "colours").mkdir(parents=True)
    weight = np.array([[8, -8, -8, 0], [-8, 8, 8, 0]], np.float32)
    probe = Probe(("red", "other"), weight, np.zeros(2, np.float32), HERE, c=1.0)
    probe.save(folder / "near.probe")
    pin = sha256((folder / "near.probe").read_bytes()).hexdigest()
    for version, more in enumerate(versions or ("",), 1):
        text = POLICY.format(version=version, pin=pin, block=0.9, encoders=more)
        (folder / "colours" / f"{version}.yaml").write_text(text)
        release(folder, "colours", version)
    (folder / "active.yaml").write_text("colours: {active: 1}\n")
    return folder


def settings_for(tmp_path: Path, *versions: str) -> Settings:
    return Settings(
        policies=write(tmp_path / "p", *versions), default_policy="colours", cache=tmp_path / "cache"
    )


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return settings_for(tmp_path)


@pytest.fixture
def engine(settings: Settings) -> Iterator[Engine]:
    engine = Engine(settings, encoder=ColourEncoder())
    yield engine
    engine.close()


def check(engine: Engine, colour: str) -> Verdict:
    event = Event.model_validate({"id": colour, "source": "s", "image": {"inline": "eA=="}})
    prepared = engine.preparer.prepare(picture(colour), engine.resolver.select_for(event))
    watch = Stopwatch()
    judged = engine.judge(event, prepared, engine.embed(prepared.pixels), watch)
    return engine.verdict(event, prepared, judged, watch)


@pytest.mark.parametrize(
    ("colour", "decision", "severity", "message"),
    [
        ("red", Decision.BLOCK, CategorySeverity.HIGH, "No red here."),
        ("white", Decision.BLOCK, None, "Too pale."),
        ("blue", Decision.ALLOW, None, None),
    ],
)
def test_the_category_that_decides_gives_severity_and_message(
    engine: Engine, colour: str, decision: Decision, severity: CategorySeverity | None, message: str | None
) -> None:
    verdict = check(engine, colour)
    assert (verdict.decision, verdict.severity, verdict.message) == (decision, severity, message)
    said = verdict.model_dump(mode="json")
    assert ("severity" in said, "message" in said) == (severity is not None, message is not None)


def test_a_condition_stands_in_the_verdict_like_any_category(engine: Engine) -> None:
    verdict = check(engine, "white")
    scores = {name: category.score for name, category in verdict.categories.items()}
    assert list(scores) == ["pale", "red", "white"]
    assert scores["pale"] == min(scores["white"], 1 - scores["red"]) <= 0.9
    assert verdict.top_category == "pale"
    assert verdict.categories["pale"].top_prompts == ()
    assert verdict.categories["red"].top_prompts
    assert (verdict.unsafe_score, verdict.safe_score) == (scores["pale"], 1 - scores["pale"])


def test_a_judge_replays_them_bit_for_bit(engine: Engine, settings: Settings) -> None:
    encoder = ColourEncoder()
    judge = Judge(
        Compiler(encoder, settings.cache),
        Signals((settings.policies,), encoder.identity, encoder.dimension),
    )
    resolver = PolicyResolver.from_settings(settings)
    for colour in ("red", "white", "#ff8080", "#804040", "#c0a0a0"):
        verdict = check(engine, colour)
        prepared = engine.preparer.prepare(picture(colour))
        judged = judge.judge(engine.embed(prepared.pixels), {}, resolver.select("colours", ""))
        assert judged.judgement.categories == verdict.categories
        assert judged.judgement.unsafe_score == verdict.unsafe_score


def test_thresholds_of_this_encoder_decide(tmp_path: Path) -> None:
    engine = Engine(settings_for(tmp_path, encoders(HERE)), encoder=ColourEncoder())
    verdict = check(engine, "red")
    engine.close()
    assert verdict.categories["red"].decision is Decision.REVIEW, "it never blocks on this encoder"
    assert verdict.policy is not None
    assert verdict.policy.digest == engine.catalogue.get("colours").digest
    (finding,) = check_thresholds([engine.catalogue.get("colours")], HERE)
    assert "were measured on colours (revision 1)" in finding.message


def test_a_foreign_encoder_keeps_the_version_before_in_force(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    foreign = encoders(Identity("clip:other", "0123456789abcdef", "resize 224"))
    engine = Engine(settings_for(tmp_path, encoders(HERE), foreign), encoder=ColourEncoder())
    engine.compile_policies()
    (engine.settings.policies / "active.yaml").write_text("colours: {active: 2}\n")
    metrics = Metrics(CollectorRegistry())
    watch = PolicyWatch(engine, metrics, Silent())  # type: ignore[arg-type]
    with caplog.at_level(logging.ERROR):
        watch.refresh()
    assert engine.catalogue.get("colours").version == 1
    assert (
        "were measured on clip:other (revision 0123456789ab), and the encoder is colours (revision 1)"
        in caplog.text
    )
    assert "policy tune colours@2" in caplog.text
    assert foreign_versions(metrics) == {("colours", "2")}
    with pytest.raises(EncoderForeign):
        engine.compiler.compile(engine.catalogue.get("colours", 2))
    (engine.settings.policies / "active.yaml").write_text("colours: {active: 1}\n")
    watch.refresh()
    assert foreign_versions(metrics) == set()
    engine.close()


def test_the_same_model_with_another_preprocessing_is_foreign(tmp_path: Path) -> None:
    other = Identity(HERE.id, HERE.revision, "resize 9")
    policy = Policy.model_validate(
        {
            "name": "p",
            "version": 1,
            "safe": ["green"],
            "categories": {"red": {"unsafe": ["red"]}},
            "encoders": [
                {
                    "id": other.id,
                    "revision": other.revision,
                    "preprocessing": other.preprocessing,
                    "categories": {"red": {"block": 0.5}},
                }
            ],
        }
    )
    with pytest.raises(EncoderForeign, match="with the preprocessing 'resize 8'"):
        Compiler(ColourEncoder(), tmp_path).compile(policy)


class Silent:
    """Announcements that nobody reads."""

    def announce(self, references: object, held: object) -> None: ...


def foreign_versions(metrics: Metrics) -> set[tuple[str, str]]:
    return {
        (sample.labels["policy"], sample.labels["version"])
        for family in metrics.registry.collect()
        for sample in family.samples
        if sample.name == "moderation_policy_foreign_encoder" and sample.value
    }
