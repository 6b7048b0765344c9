"""`policy new`, `lint` with the model, and `diff`: from words to what a draft does to pictures."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from moderator.cli.policy import app
from moderator.errors import EncoderUnknown, PolicyInvalid
from moderator.policies.loader import load_policy
from moderator.settings import load_settings
from tests.support.colour_encoder import ColourEncoder, picture, write_policies
from tests.support.letter_encoder import LetterEncoder


@pytest.fixture(autouse=True)
def settings_of_the_test(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("MODERATOR_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("MODERATOR_DECODE", "threads")
    monkeypatch.setattr("moderator.encoders.encoder_registry.encoder_of", lambda settings: LetterEncoder())
    monkeypatch.setattr("moderator.engine.engine.encoder_of", lambda settings: ColourEncoder())
    load_settings.cache_clear()
    yield
    load_settings.cache_clear()


def run(folder: Path, *arguments: str) -> Result:
    return CliRunner().invoke(app, [*arguments, "--policies", str(folder)])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "policies"


@pytest.fixture
def colours(tmp_path: Path) -> Path:
    for n, colour in enumerate(("red", "blue", "red")):
        path = tmp_path / "images" / f"{n}.png"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(picture(colour))
    (tmp_path / "images" / "broken.png").write_bytes(b"no image")
    return write_policies(tmp_path / "colours")


def test_words_become_a_draft_with_hard_negatives(folder: Path) -> None:
    result = run(folder, "new", "pets", "--unsafe", "cats=a cat; a kitten", "--safe", "cats=a toy cat")
    assert result.exit_code == 0, result.output
    policy = load_policy(folder / "pets" / "1.yaml")
    assert policy.categories["cats"].unsafe == ("a cat", "a kitten")
    assert policy.categories["cats"].safe[0] == "a toy cat"
    assert len(policy.categories["cats"].safe) == 1 + 8
    assert policy.categories["cats"].review == 0.5
    assert len(policy.safe) > 8
    assert f"Next: moderator policy lint pets@1 --policies {folder}" in result.stdout
    assert (
        (folder / "pets" / "1.yaml")
        .read_text()
        .startswith("# Note: written by 'moderator policy new'. Some safe")
    )


def test_the_next_version_starts_from_another(folder: Path) -> None:
    run(folder, "new", "pets", "--unsafe", "cats=a cat; a kitten", "--negatives", "0")
    result = run(
        folder,
        "new",
        "pets",
        "--from",
        "pets@1",
        "--unsafe",
        "dogs=a dog; a puppy",
        "--negatives",
        "2",
        "--json",
    )
    facts = json.loads(result.stdout)
    assert (facts["version"], list(facts["proposed"]), len(facts["proposed"]["dogs"])) == (2, ["dogs"], 2)
    assert list(load_policy(folder / "pets" / "2.yaml").categories) == ["cats", "dogs"]
    result = run(folder, "new", "toys", "--from", "pets@2", "--block", "never", "--review", "0.3")
    category = load_policy(folder / "toys" / "1.yaml").categories["cats"]
    assert (category.review, str(category.block)) == (0.3, "inf")


def test_without_an_encoder_nothing_is_proposed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(settings: object) -> None:
        raise EncoderUnknown("no such encoder")

    monkeypatch.setattr("moderator.encoders.encoder_registry.encoder_of", fail)
    result = run(folder, "new", "pets", "--unsafe", "cats=a cat; a kitten")
    assert result.exit_code == 0, result.output
    assert "nothing is proposed, because the encoder cannot be loaded here: no such encoder" in result.stderr
    assert load_policy(folder / "pets" / "1.yaml").categories["cats"].safe == ()
    result = run(folder, "lint")
    assert result.exit_code == 0
    assert "the prompts are not compared" in result.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("pets",),  # nobody to ask
        ("pets@2", "--unsafe", "cats=a cat"),
        ("pets", "--unsafe", "a cat"),
        ("pets", "--unsafe", "cats=;"),
        ("pets", "--unsafe", "cats=a cat", "--block", "high"),
    ],
)
def test_wrong_usage_of_new(folder: Path, arguments: tuple[str, ...]) -> None:
    assert run(folder, "new", *arguments).exit_code == 2
    assert not folder.exists()


def test_words_that_make_no_policy_are_refused(folder: Path) -> None:
    result = run(folder, "new", "pets", "--unsafe", "Big cats=a lion", "--negatives", "0")
    assert isinstance(result.exception, PolicyInvalid)
    assert not folder.exists()


def test_lint_compares_prompts_by_the_model(folder: Path) -> None:
    run(folder, "new", "pets", "--unsafe", "cats=a cat; cat a; a dog", "--negatives", "0")
    result = run(folder, "lint", "pets@1")
    assert result.exit_code == 0
    assert re.search(
        r"1\.yaml:\d+: hint: categories\.cats\.unsafe, item 2: 'cat a' and 'a cat' mean", result.stdout
    )
    assert "Next: moderator policy release pets@1" in result.stdout
    assert "mean the same" not in run(folder, "lint", "pets@1", "--no-embedding").stdout
    found = [json.loads(line) for line in run(folder, "lint", "pets@1", "--json").stdout.splitlines()]
    assert {row["severity"] for row in found} == {"hint"}
    assert run(folder, "lint", "--no-embedding", "--images", ".").exit_code == 2


def test_lint_says_what_a_policy_does_to_images(colours: Path, tmp_path: Path) -> None:
    result = run(colours, "lint", "colours@1", "--images", str(tmp_path / "images"))
    assert result.exit_code == 0, result.output
    rows = [
        line.split() for line in result.stdout.splitlines() if line.split()[:1] in (["colours@1"], ["red"])
    ]
    assert rows == [["colours@1", "3", "0", "2"], ["red", "0", "2", "1.00"]]
    assert "1 more files cannot be read as images" in result.stdout
    last = json.loads(
        run(colours, "lint", "colours@2", "--images", str(tmp_path / "images"), "--json").stdout.splitlines()[
            -1
        ]
    )
    assert (last["policy"], last["images"], last["block"], last["failed"]) == ("colours@2", 3, 0, 1)


def test_lint_says_which_category_no_image_reaches(colours: Path, tmp_path: Path) -> None:
    for n in (0, 2):
        (tmp_path / "images" / f"{n}.png").write_bytes(picture("green"))
    result = run(colours, "lint", "colours@1", "--images", str(tmp_path / "images"))
    assert "no picture of the sample reaches it: the highest score of 3 is 0.0" in result.stdout


def test_diff_lists_words_and_the_images_that_change(colours: Path, tmp_path: Path) -> None:
    report = tmp_path / "diff.html"
    result = run(
        colours, "diff", "colours@1", "colours@2", "--images", str(tmp_path / "images"), "--html", str(report)
    )
    assert result.exit_code == 0, result.output
    assert "    block: 0.5 -> 1\n" in result.stdout
    assert "2 of 3 images are decided differently: 2 block to allow" in result.stdout
    assert "  block -> allow  red" in result.stdout
    assert report.read_text().count('src="data:image/webp;base64,') == 2
    labels = tmp_path / "images" / "labels.csv"
    labels.write_text("path,label\n0.png,crimson\n1.png,\n")
    result = run(colours, "diff", "colours@1", "colours@2", "--images", str(labels))
    assert "1 of 2 images is decided differently: 1 block to allow" in result.stdout
    assert "(label: crimson)" in result.stdout
    facts = json.loads(run(colours, "diff", "colours@3", "--json").stdout)
    assert facts["before"]["policy"] == "colours@1", "against the active version"
    assert facts["parts"][0]["keys"] == [{"key": "block", "before": 0.5, "after": 0.6}]
    assert facts["images"] is None
    assert facts["next"] == [f"moderator policy shadow colours@3 --policies {colours}"]


def test_wrong_usage_of_diff(colours: Path) -> None:
    assert run(colours, "diff", "colours").exit_code == 2
    assert run(colours, "diff", "colours@2", "--html", "a.html").exit_code == 2
    assert (
        run(colours, "diff", "colours@1", "colours@1").stdout.splitlines()[1]
        == "nothing differs but the version"
    )
