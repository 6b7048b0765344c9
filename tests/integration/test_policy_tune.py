"""`policy tune` from the command line, on crops of the demo's photographs, with the embedded encoder."""

import json
import shutil
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

from moderator.cli.demo import PHOTOGRAPHS
from moderator.cli.main import app
from moderator.policies.loader import load_policy

ROOT = Path(__file__).parents[2]
ANIMALS = ("cat.jpg", "red-panda.jpg", "scarlet-macaw.jpg")
THINGS = (
    "chair.jpg",
    "coffee.jpg",
    "cutlery.jpg",
    "hammer.jpg",
    "rocket.jpg",
    "parthenon.jpg",
    "windmills.jpg",
)


@pytest.fixture(scope="module")
def labels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("crops")
    rows = ["path,label,source"]
    for name in (*ANIMALS, *THINGS):
        with Image.open(PHOTOGRAPHS / name) as picture:
            picture = picture.convert("RGB").resize((320, 320))
        for number in range(8):
            left, top = 12 * (number % 3), 12 * (number // 3)
            file = f"{number}-{name}"
            picture.crop((left, top, left + 280 + number, top + 280)).save(folder / file)
            rows.append(f"{file},{'live-animals' if name in ANIMALS else 'safe'},{name}")
    (folder / "labels.csv").write_text("\n".join(rows))
    return folder / "labels.csv"


def test_a_draft_with_a_probe_is_valid_and_decides(labels: Path, tmp_path: Path) -> None:
    policies = tmp_path / "policies"
    shutil.copytree(ROOT / "policies", policies)
    before = {path: path.read_bytes() for path in policies.rglob("*") if path.is_file()}
    report = tmp_path / "report.html"
    words = [
        "policy",
        "tune",
        "marketplace@4",
        "--data",
        str(labels),
        "--target",
        "fpr<=5%",
        "--probe",
        "--json",
    ]
    tuned = CliRunner().invoke(app, [*words, "--html", str(report), "--policies", str(policies)])
    assert tuned.exit_code == 0, tuned.output
    record = json.loads(tuned.stdout.splitlines()[-1])
    assert record["draft"] == "marketplace@5"
    assert record["chosen"] + record["reported"] == 80
    assert record["tried"] == 12
    assert before == {path: path.read_bytes() for path in before}
    draft = load_policy(policies / "marketplace" / "5.yaml")
    assert draft.categories["live-animals"].probe is not None
    assert list(draft.encoders[0].categories) == ["live-animals"]
    assert (policies / record["files"][0]).is_file()
    assert "Tuning of marketplace@4" in report.read_text()


@pytest.mark.parametrize("target", ["fpr<1%", "review<=5/day"])
def test_a_wrong_target_fails_before_any_work(target: str, labels: Path) -> None:
    words = ["policy", "tune", "marketplace@4", "--data", str(labels), "--target", target]
    assert CliRunner().invoke(app, words).exit_code != 0
