import json
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from moderator import Settings
from moderator.cli.policy import app
from moderator.errors import LabelsInvalid, PolicyNotFound
from tests.support.colour_encoder import ColourEncoder, picture, write_policies


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of folders: a red image for each label, and a blue one that is safe."""
    monkeypatch.setattr("moderator.engine.engine.encoder_of", lambda *arguments: ColourEncoder())
    settings = Settings(
        policies=write_policies(tmp_path / "policies"), cache=tmp_path / "cache", decode="threads"
    )
    monkeypatch.setattr("moderator.settings.load_settings", lambda: settings)
    for label, colour in (("red", "red"), ("crimson", "red"), ("safe", "blue"), ("blurred", "green")):
        (tmp_path / "data" / label).mkdir(parents=True)
        (tmp_path / "data" / label / "a.png").write_bytes(picture(colour))
    return tmp_path / "data"


def run(data: Path, *arguments: str) -> Result:
    return CliRunner().invoke(app, ["evaluate", "colours@1", "--data", str(data), *arguments])


ALL = ("--map", "crimson=red", "--ignore", "blurred")


def test_a_sentence_then_a_table(data: Path) -> None:
    result = run(data, *ALL)
    assert result.exit_code == 0, result.output
    sentence, heading, red, overall = result.stdout.splitlines()
    assert sentence.startswith("Of 1 safe image, none would go to review and none be blocked.")
    assert heading.split()[0] == "category"
    assert red.split()[:4] == ["red", "2", "100", "%"]
    assert overall.startswith("any category")


def test_json_is_one_object(data: Path) -> None:
    result = run(data, *ALL, "--json", "--per-day", "500")
    assert result.exit_code == 0, result.output
    record = json.loads(result.stdout)
    assert record["policy"] == "colours@1"
    assert record["unsafe"]["block"] == 2
    assert record["load"]["uploads_per_day"] == 500


def test_a_report_is_written_with_small_pictures(data: Path, tmp_path: Path) -> None:
    (data / "safe" / "b.png").write_bytes(picture("red"))
    result = run(data, *ALL, "--html", str(tmp_path / "report.html"))
    assert result.exit_code == 0, result.output
    assert "report.html" in result.stdout
    page = (tmp_path / "report.html").read_text("utf-8")
    assert 'src="data:image/webp;base64,' in page
    assert "False alarms: all 1" in page


def test_unknown_labels_end_the_command(data: Path) -> None:
    result = run(data)
    assert isinstance(result.exception, LabelsInvalid)
    assert "--map LABEL=CATEGORY" in str(result.exception)


@pytest.mark.parametrize("text", ["red", "=red", "a=", ""])
def test_a_mapping_without_two_sides_is_refused(data: Path, text: str) -> None:
    result = run(data, "--map", text)
    assert result.exit_code == 2
    assert "LABEL=CATEGORY" in result.output


def test_an_unknown_policy_ends_the_command(data: Path) -> None:
    result = CliRunner().invoke(app, ["evaluate", "colors@1", "--data", str(data)])
    assert isinstance(result.exception, PolicyNotFound)
