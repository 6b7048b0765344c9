from hashlib import sha256
from pathlib import Path

import pytest

from moderator.operations.doctor.findings import Finding, Level
from moderator.operations.doctor.policies import check_encoder_name, examine_policies
from moderator.settings import Settings
from tests.support.colour_encoder import ColourEncoder, write_policies
from tests.support.policies import release
from tests.support.tools import needs_extra


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    folder = write_policies(tmp_path / "policies")
    return Settings(
        policies=folder, default_policy="colours", cache=tmp_path / "cache", encoder="clip:some/model"
    )


def bad(settings: Settings) -> list[tuple[str, Level]]:
    return [(f.check, f.level) for f in found(settings) if f.level is not Level.OK]


def found(settings: Settings) -> list[Finding]:
    return list(examine_policies(settings, with_model=False))


def test_sound_policies(settings: Settings) -> None:
    assert bad(settings) == []
    assert [f.check for f in found(settings)] == ["policies.load", "policies.default", "policies.encoder"]


def test_no_policies(settings: Settings, tmp_path: Path) -> None:
    assert bad(settings.model_copy(update={"policies": tmp_path / "none"})) == [
        ("policies.load", Level.PROBLEM)
    ]


@pytest.mark.parametrize("reference", ["other", "colours@9", "colours@4", "?"])
def test_a_default_policy_that_cannot_decide(settings: Settings, reference: str) -> None:
    draft = (settings.policies / "colours" / "1.yaml").read_text().replace("version: 1", "version: 4")
    (settings.policies / "colours" / "4.yaml").write_text(draft)
    changed = settings.model_copy(update={"default_policy": reference})
    assert bad(changed) == [("policies.default", Level.PROBLEM)]


def test_a_broken_draft_is_a_warning(settings: Settings) -> None:
    (settings.policies / "colours" / "4.yaml").write_text("name: colours\n")
    assert bad(settings) == [("policies.load", Level.WARNING)]


def test_a_released_version_that_was_edited(settings: Settings) -> None:
    path = settings.policies / "colours" / "3.yaml"
    path.write_text(path.read_text().replace("0.6", "0.7"))
    assert bad(settings) == [("policies.released", Level.PROBLEM)]


def test_an_active_version_that_is_broken(settings: Settings) -> None:
    (settings.policies / "colours" / "1.yaml").write_text("name: colours\n")
    assert ("policies.load", Level.PROBLEM) in bad(settings)
    assert ("policies.default", Level.PROBLEM) in bad(settings)


def test_an_active_draft(settings: Settings) -> None:
    draft = (settings.policies / "colours" / "1.yaml").read_text().replace("version: 1", "version: 4")
    (settings.policies / "colours" / "4.yaml").write_text(draft)
    (settings.policies / "active.yaml").write_text("colours: {active: 4}\n")
    assert bad(settings) == [("policies.load", Level.PROBLEM), ("policies.default", Level.PROBLEM)]


def test_what_the_signals_of_an_active_version_need(settings: Settings) -> None:
    needs_extra("pdqhash", "hash")
    content = ("0f" * 32 + "\n").encode()
    (settings.policies / "listed").mkdir()
    (settings.policies / "listed" / "1.yaml").write_text(
        "name: listed\nversion: 1\nsignals:\n"
        f"- {{name: seen, kind: hash-list, file: bad.pdq, sha256: {sha256(content).hexdigest()}}}\n"
        "categories:\n  known: {signal: seen}\n"
    )
    release(settings.policies, "listed", 1)
    (settings.policies / "active.yaml").write_text("colours: {active: 1}\nlisted: {active: 1}\n")
    assert bad(settings) == [("policies.signals", Level.PROBLEM)]
    assert "no file bad.pdq" in found(settings)[-1].message
    (settings.policies / "bad.pdq").write_bytes(content)
    assert bad(settings) == []


@pytest.mark.parametrize(
    ("name", "level"),
    [
        ("clip:openai/clip-vit-base-patch32", Level.OK),
        ("embedded", Level.WARNING),
        ("klip:x", Level.PROBLEM),
        ("clip", Level.PROBLEM),
        ("clip:/no/such/folder", Level.PROBLEM),
    ],
)
def test_names_of_encoders(name: str, level: Level) -> None:
    assert check_encoder_name(name).level is level


def test_a_worker_that_could_not_fetch_does_not_start(settings: Settings) -> None:
    wrong = settings.model_copy(update={"fetch_hosts": ("https://example.org",)})
    *_, last = examine_policies(wrong, with_model=True)
    assert (last.check, last.level) == ("policies.model", Level.PROBLEM)
    assert "MODERATOR_FETCH_HOSTS" in last.message


def test_thresholds_of_another_encoder(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("moderator.engine.engine.encoder_of", lambda settings: ColourEncoder())
    text = (settings.policies / "colours" / "3.yaml").read_text().replace("version: 3", "version: 4")
    scales = "{id: clip:x, revision: r, preprocessing: p, categories: {red: {block: 0.5}}}"
    (settings.policies / "colours" / "4.yaml").write_text(f"{text}encoders: [{scales}]\n")
    release(settings.policies, "colours", 4)
    (settings.policies / "active.yaml").write_text(
        "colours: {active: 1, canary: {version: 4, percent: 10}}\n"
    )
    findings = {
        (f.level, f.message)
        for f in examine_policies(settings, with_model=True)
        if f.check == "policies.thresholds"
    }
    assert {level for level, _ in findings} == {Level.PROBLEM, Level.OK}
    said = " ".join(message for _, message in findings)
    assert (
        "the thresholds of colours@4 were measured on clip:x (revision r), and the encoder is colours" in said
    )
    assert "the thresholds of colours@1 name no encoder" in said
