"""The quick version of `make fuzz`: the same files each time, a tiny encoder, and all that was ever found."""

import json
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from moderator.errors import ModeratorError
from moderator.settings import Settings
from tests.fuzz import images
from tests.fuzz.images import FINDINGS, make_image
from tests.fuzz.pipeline import Pipeline
from tests.fuzz.seeds import load_seeds
from tests.fuzz.supervisor import ERRORS, VERDICTS, Limits, Supervisor
from tests.support.colour_encoder import ColourEncoder, write_policies

IMAGES = 500
# pytest resets the filter that the decoder sets.
pytestmark = pytest.mark.filterwarnings("ignore:::PIL")


def load_quick_pipeline(policies: Path) -> Pipeline:
    settings = Settings(
        policies=policies,
        default_policy="colours",
        cache=policies.parent / "cache",
        max_pixels=4_000_000,
        max_bytes=1_000_000,
    )
    return Pipeline(settings, ColourEncoder())


@pytest.fixture(scope="module")
def policies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_policies(tmp_path_factory.mktemp("fuzz") / "policies")


@pytest.fixture(scope="module")
def pipeline(policies: Path) -> Pipeline:
    return load_quick_pipeline(policies)


def outcome(pipeline: Pipeline, data: bytes) -> str:
    try:
        return pipeline(data)
    except ModeratorError as error:
        return type(error).__name__


@pytest.mark.parametrize("name", load_seeds())
def test_each_seed_gets_a_verdict(pipeline: Pipeline, name: str) -> None:
    assert outcome(pipeline, load_seeds()[name]) in VERDICTS


def test_what_was_found_once_stays_fixed(pipeline: Pipeline) -> None:
    for file in FINDINGS.glob("*.bin"):
        assert outcome(pipeline, file.read_bytes()) in (*VERDICTS, *ERRORS), file.name


def test_mutations_end_in_a_verdict_or_a_typed_error(pipeline: Pipeline, policies: Path) -> None:
    """Once here and once in two supervised processes, with the same counts: a seed's images are the same anywhere."""
    here = Counter(outcome(pipeline, make_image(0, number)) for number in range(IMAGES))
    assert here.total() == IMAGES
    assert here["allow"] > 50
    assert here["ImageBroken"] > 50
    supervisor = Supervisor(
        partial(load_quick_pipeline, policies), partial(make_image, 0), Limits(seconds=60, memory_mb=2000)
    )
    *_, report = supervisor.run(IMAGES, workers=2)
    assert report.counts == here
    assert not report.findings
    assert report.peak_mb > 10


def load_by_folder(encoder: str, max_pixels: int, decode_timeout: float) -> Pipeline:
    """In place of the real pipeline, whose model takes long to load: the encoder's name is the folder of policies."""
    return load_quick_pipeline(Path(encoder))


def load_broken(encoder: str, max_pixels: int, decode_timeout: float) -> Callable[[bytes], str]:
    return {}.__getitem__  # a KeyError for every file


def test_the_command_ends_with_a_line_of_json(
    policies: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(images, "load_pipeline", load_by_folder)
    command = [
        "images",
        "--images",
        "40",
        "--workers",
        "1",
        "--encoder",
        str(policies),
        "--findings",
        str(tmp_path / "found"),
    ]
    monkeypatch.setattr("sys.argv", command)
    assert images.main() == 0
    facts = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert facts["images"] == facts["verdicts"] + facts["errors"] == 40
    assert facts["untyped"] == facts["crashes"] == facts["hangs"] == facts["over_memory"] == 0
    assert facts["peak_mb"] > 10
    monkeypatch.setattr(images, "load_pipeline", load_broken)
    assert images.main() == 1
    facts = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert facts["untyped"] == len(list((tmp_path / "found").iterdir())) == 40
