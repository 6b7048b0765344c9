import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from moderator.cli.main import app
from moderator.encoders import hub, verify
from moderator.encoders.hub import Pulled
from moderator.encoders.known import KNOWN
from moderator.settings import Settings, load_settings
from tests.support.colour_encoder import ColourEncoder, write_policies

loaded: list[str] = []


@pytest.fixture(autouse=True)
def _settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    for name, value in {
        "POLICIES": write_policies(tmp_path / "rules"),
        "DEFAULT_POLICY": "colours",
        "CACHE": tmp_path / "cache",
        "ENCODER": "clip:the-one-that-is-set",
    }.items():
        monkeypatch.setenv(f"MODERATOR_{name}", str(value))
    loaded.clear()

    def load(settings: Settings) -> ColourEncoder:
        loaded.append(settings.encoder)
        return ColourEncoder()

    monkeypatch.setattr("moderator.engine.engine.encoder_of", load)
    monkeypatch.setattr(verify, "TIMING_MIN_SECONDS", 0.01)
    load_settings.cache_clear()
    yield
    load_settings.cache_clear()


def run(*arguments: str) -> Result:
    result = CliRunner().invoke(app, ["models", *arguments], env={"COLUMNS": "80"})
    assert result.exit_code == 0, result.output
    return result


def test_list_fits_a_terminal() -> None:
    lines = run("list").stdout.splitlines()
    assert max(map(len, lines)) <= 80
    assert "…" not in "".join(lines)
    (row,) = (line for line in lines if "siglip2-giant-opt" in line)
    assert row.split() == [
        "siglip:google/siglip2-giant-opt-patch16-384",
        "384",
        "1536",
        "1.87B",
        "85.0",
        "Apache-2",
    ]


def test_list_for_programs() -> None:
    rows = [json.loads(line) for line in run("list", "--json").stdout.splitlines()]
    assert [row["name"] for row in rows] == [model.name for model in KNOWN]
    assert rows[1]["parameters"] == 151.3
    assert rows[0]["top1"] == 48.1
    assert "moderator bench zero-shot" in rows[0]["top1_source"]


def test_list_says_where_each_figure_is_from() -> None:
    text = run("list").stdout
    families = {
        line.rpartition(" [")[0]: line.rpartition(" [")[2]
        for line in text.splitlines()
        if line.rstrip().endswith("]")
    }
    notes = {line[1]: line for line in text.splitlines() if line.startswith("[")}
    assert set(notes) == {mark.strip(" ]") for mark in families.values()}
    mark = families["CLIP (OpenAI)"].strip(" ]")
    assert "Wortsman" in notes[mark]


def test_check() -> None:
    result = run("check")
    assert loaded == ["clip:the-one-that-is-set"]
    assert "8 x 8 pixels" in result.stdout
    assert "logit = 20.00 * cosine +0.00" in result.stdout
    assert "cpu in float32" in result.stdout
    assert "4, of which 0 are not read to the end" in result.stdout
    assert max(map(len, result.stdout.splitlines())) <= 80


def test_check_names_prompts_that_are_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ColourEncoder, "truncated", lambda self, texts: [t for t in texts if t == "red"])
    result = run("check", "siglip:x")
    assert loaded == ["siglip:x"]
    assert "4, of which 1 are not read to the end" in result.stdout
    assert "cut: red" in result.stderr
    facts = json.loads(run("check", "siglip:x", "--json").stdout)
    assert (facts["id"], facts["prompts"], facts["truncated"]) == ("colours", 4, ["red"])
    assert facts["images_per_second_batch"] > 0


def test_pull(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(hub, "pull", lambda name: Pulled(f"{name}@abc", "abc", tmp_path, 3, 7_000_000))
    result = run("pull", "clip:x/y")
    assert result.stdout == "clip:x/y@abc\n", "the name alone, for MODERATOR_ENCODER=$(...)"
    assert "3 files, 7 MB" in result.stderr
    assert json.loads(run("pull", "clip:x/y", "--json").stdout) == {
        "name": "clip:x/y@abc", "revision": "abc", "folder": str(tmp_path), "files": 3, "bytes": 7_000_000
    }  # fmt: skip
