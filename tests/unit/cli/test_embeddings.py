import csv
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import Result
from PIL import Image
from rich.cells import cell_len
from typer.testing import CliRunner

from moderator.cli.main import USAGE_ERRORS, app
from moderator.embeddings.embedder import EmbeddedImage, Embedder
from moderator.errors import ImageNotFound, LabelsInvalid, NoImages
from moderator.settings import load_settings
from tests.support.colour_encoder import ColourEncoder, picture, write_policies

COLOURS = ("blue", "green", "red")


@pytest.fixture(autouse=True)
def _setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MODERATOR_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("moderator.embeddings.embedder.encoder_of", lambda *arguments: ColourEncoder())
    load_settings.cache_clear()
    Path("photos").mkdir()
    for name in COLOURS:
        Path(f"photos/{name}.png").write_bytes(picture(name))
    Path("broken.png").write_text("no image")
    yield
    load_settings.cache_clear()


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments)


def records(result: Result) -> list[dict]:
    assert result.exit_code == 0, result.output
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_classify() -> None:
    found = records(
        run("classify", "photos", "broken.png", "--labels", "red, green,blue", "--top", "2", "--json")
    )
    assert [Path(record["image"]).stem for record in found] == [*COLOURS, "broken"]
    for record, colour in zip(found[:3], COLOURS, strict=True):
        first, second = record["labels"]
        assert first["label"] == colour
        assert first["probability"] > second["probability"]
    assert found[3]["error"]["type"] == "NotAnImage"


def test_classify_shows_a_table() -> None:
    Path("labels.txt").write_text("# colours\nred\n\ngreen\n")
    result = run("classify", "photos/red.png", "--labels-file", "labels.txt", "--templates", "imagenet")
    lines = [line.split() for line in result.stdout.splitlines()]
    assert lines[0] == ["image", "label", "probability"]
    assert lines[1][:2] == ["red.png", "red"]
    assert lines[2][0] == "green"


@pytest.mark.parametrize("ensemble", ["embeddings", "probabilities"])
def test_classify_with_templates(ensemble: str) -> None:
    arguments = ["--labels", "red,blue", "--template", "so {}", "--template", "{}!", "--ensemble", ensemble]
    (found,) = records(run("classify", "photos/blue.png", *arguments, "--json"))
    assert found["labels"][0]["label"] == "blue"


@pytest.mark.parametrize(
    "arguments", [[], ["--labels", "a", "--labels-file", "b"], ["--labels", " ,"], ["--labels", "a,b,a"]]
)
def test_classify_with_wrong_labels(arguments: list[str]) -> None:
    assert isinstance(run("classify", "photos", *arguments).exception, LabelsInvalid)


def test_similarity_as_json() -> None:
    found = records(run("similarity", "-i", "photos", "-t", "red", "-t", "green", "--json"))
    assert [Path(record["image"]).stem for record in found] == list(COLOURS)
    red = found[2]
    assert red["texts"] == ["red", "green"]
    assert red["cosine"][0] > 0.9 > red["cosine"][1]
    assert red["logits"][0] == pytest.approx(20 * red["cosine"][0])
    assert sum(red["probabilities"]) == pytest.approx(1)


def test_similarity_as_csv() -> None:
    result = run("similarity", "-i", "photos", "-t", 'a "red", one', "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(result.stdout)))
    assert [row["text"] for row in rows] == ['a "red", one'] * 3
    assert float(rows[2]["cosine"]) > 0.9


def test_similarity_as_table_and_picture() -> None:
    result = run(
        "similarity", "-i", "photos", "-i", "broken.png", "-t", "red", "-t", "blue", "--picture", "heat.png"
    )
    assert result.stdout.splitlines()[3].split()[0] == "red.png"
    assert "NotAnImage" in result.stderr
    assert Image.open("heat.png").height > 3 * 96


@pytest.mark.parametrize("arguments", [["--format", "xml"], ["--value", "x"], ["--picture", "x.nonsense"]])
def test_similarity_used_wrongly(arguments: list[str]) -> None:
    assert run("similarity", "-i", "photos", "-t", "red", *arguments).exit_code == 2


def test_embed_and_search() -> None:
    (summary,) = records(run("embed", "photos", "-o", "out/f.parquet", "--numpy", "--json"))
    assert (summary["images"], summary["rows"], summary["failed"]) == (3, 3, 0)
    assert Path("out/f.npy").stat().st_size > 3 * 16
    hits = records(run("search", "something red", "--index", "out/f.parquet", "--json"))
    assert Path(hits[0]["path"]).stem == "red"
    hits = records(run("search", "photos/blue.png", "--index", "out/f.parquet", "--top", "1", "--json"))
    assert [Path(hit["path"]).stem for hit in hits] == ["blue"]
    assert hits[0]["similarity"] == pytest.approx(1)
    Path("photos/green.png").unlink()
    result = run("search", "green", "--index", "out/f.parquet", "--picture", "hits.png", "--approximate")
    assert result.stdout.split()[2] == "1.000"
    assert "green" in result.stdout.splitlines()[1] + result.stdout.splitlines()[2]
    assert Image.open("hits.png").width > 3 * 192


@pytest.mark.parametrize(
    "query", ["nofile.jpg", "nofile.HEIC", "photos/red", "./photos", "a\\b", "no file.png"]
)
def test_a_file_that_is_not_there_is_no_text(query: str) -> None:
    run("embed", "photos", "-o", "f.parquet")
    result = run("search", query, "--index", "f.parquet")
    assert isinstance(result.exception, ImageNotFound)
    assert query in str(result.exception)
    assert "--text" in str(result.exception)
    assert len(records(run("search", query, "--text", "--index", "f.parquet", "--json"))) == 3


@pytest.mark.parametrize("query", ["red", "a red thing.", "no. 5", "St. Petersburg", "photos", "version 2.0"])
def test_words_are_a_text(query: str) -> None:
    run("embed", "photos", "-o", "f.parquet")
    assert len(records(run("search", query, "--index", "f.parquet", "--json"))) == 3


@pytest.mark.parametrize(
    "arguments",
    [
        ["classify", "empty", "--labels", "a,b"],
        ["similarity", "-i", "empty", "-t", "a"],
        ["similarity", "-i", "*.gif", "-t", "a"],
        ["embed", "empty", "-o", "f.parquet"],
        ["embed", "photos/red.png", "-o", "f.parquet"],
    ],
)
def test_nothing_to_look_at_is_wrong_usage(arguments: list[str]) -> None:
    Path("empty").mkdir()
    result = run(*arguments)
    assert isinstance(result.exception, NoImages)
    assert isinstance(result.exception, USAGE_ERRORS), "ends with 2"


@pytest.mark.parametrize(
    ("arguments", "begin"),
    [
        (["classify", "photos", "--labels", "red,green"], 3),
        (["classify", "photos", "--labels", "red,green", "--json"], 1),
        (["similarity", "-i", "photos", "-t", "red"], 2),
        (["similarity", "-i", "photos", "-t", "red", "--json"], 1),
        (["similarity", "-i", "photos", "-t", "red", "--format", "csv"], 2),
    ],
)
def test_an_interruption_leaves_what_is_there(
    arguments: list[str], begin: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = run(*arguments).stdout.splitlines()
    real = Embedder.embed_each

    def interrupted(self: Embedder, images: list[str]) -> Iterator[EmbeddedImage]:
        yield from real(self, list(images)[:1])
        raise KeyboardInterrupt

    monkeypatch.setattr(Embedder, "embed_each", interrupted)
    result = run(*arguments)
    assert result.exit_code == 130
    assert result.stdout.splitlines() == whole[:begin]


def test_an_interrupted_run_reports_what_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    real = Embedder.embed_each

    def interrupted(self: Embedder, images: Iterator[str]) -> Iterator[EmbeddedImage]:
        yield from real(self, images)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Embedder, "embed_each", interrupted)
        result = run("embed", ".", "-o", "f.parquet")
    assert result.exit_code == 130
    assert "goes on from there" in result.stderr
    (problem,) = map(json.loads, Path("f.parquet.failed.jsonl").read_text().splitlines())
    assert problem["path"].endswith("broken.png")
    (summary,) = records(run("embed", ".", "-o", "f.parquet", "--json"))
    assert (summary["rows"], summary["failed"]) == (3, 1)


@pytest.mark.parametrize("columns", ["60", "80"])
def test_numbers_fit_a_terminal(columns: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    text = "a photograph of a red square on a wall that somebody painted last year"
    result = run("similarity", "-i", "photos", "-t", text, "-t", "猫" * 30, "-t", "blue")
    lines = result.stdout.splitlines()
    assert max(map(cell_len, lines)) <= int(columns)
    assert [len(re.findall(r"-?\d\.\d{3}\b", line)) for line in lines[-3:]] == [3, 3, 3]


def test_characters_without_a_font_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("moderator.embeddings.lettering.font_folders", list)
    result = run("similarity", "-i", "photos", "-t", "кот", "-t", "猫", "--picture", "heat.png")
    assert result.exit_code == 0
    assert "no font on this machine has кот猫" in result.stderr
    assert "apt install fonts-noto-cjk" in result.stderr
    result = run("similarity", "-i", "photos", "-t", "cat", "--picture", "heat.png")
    assert result.stderr == ""


def test_embed_reports_what_failed() -> None:
    result = run("embed", ".", "-o", "f.parquet")
    assert "3 rows" in result.stdout
    assert "1 images could not be embedded: f.parquet.failed.jsonl" in result.stdout


def make_classes(count: int = 6) -> None:
    """A folder per class with shades of its colour."""
    for colour, code in (("red", "#{}2020"), ("green", "#20{}20"), ("blue", "#2020{}")):
        Path(f"classes/{colour}").mkdir(parents=True)
        for number in range(count):
            shade = picture(code.format(format(120 + 20 * number, "x")))
            Path(f"classes/{colour}/{number}.png").write_bytes(shade)


def test_probe() -> None:
    make_classes()
    (trained,) = records(
        run("probe", "train", "--data", "classes", "-o", "p.safetensors", "--folds", "3", "--json")
    )
    assert trained["macro_auc"] == 1
    assert trained["images"] == 18
    (found,) = records(run("probe", "evaluate", "--probe", "p.safetensors", "--data", "classes", "--json"))
    assert found["accuracy"] == 1
    (found,) = records(run("probe", "predict", "photos/blue.png", "--probe", "p.safetensors", "--json"))
    assert found["labels"][0]["label"] == "blue"


def test_probe_beside_a_policy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    make_classes()
    monkeypatch.setenv("MODERATOR_POLICIES", str(write_policies(tmp_path / "rules")))
    arguments = ("--folds", "3", "--policy", "colours")
    result = run("probe", "train", "--data", "classes", "-o", "p.safetensors", *arguments)
    assert result.exit_code == 0, result.output
    lines = [line.split() for line in result.stdout.splitlines()]
    assert [len(line) for line in lines[1:4]] == [2, 2, 3], "the policy has one category: red"
    assert lines[3] == ["red", "1.0000", "1.0000"]


def test_bench_zero_shot() -> None:
    make_classes()
    Path("classes/red/broken.png").write_text("no image")
    Path("classes.txt").write_text("red\ngreen\tsomething green\nblue\nwhite\nblack\ngrey\n")
    (found,) = records(run("bench", "zero-shot", "--data", "classes", "--classes", "classes.txt", "--json"))
    assert (found["classes"], found["images"], found["failed"]) == (6, 18, 1)
    assert (found["top1"], found["top5"], found["mean_per_class"]) == (1, 1, 1)
    Path("classes.txt").write_text("red\tblue\ngreen\nblue\tred\n")
    (found,) = records(run("bench", "zero-shot", "--data", "classes", "--classes", "classes.txt", "--json"))
    assert (found["top1"], found["top5"]) == (pytest.approx(1 / 3), 1)
    Path("classes.txt").write_text("red\n")
    result = run("bench", "zero-shot", "--data", "classes", "--classes", "classes.txt")
    assert isinstance(result.exception, LabelsInvalid)


def test_bench_linear_probe() -> None:
    make_classes()
    Path("test.csv").write_text("path,category\n" + "".join(f"photos/{c}.png,{c}\n" for c in COLOURS))
    (found,) = records(run("bench", "linear-probe", "--train", "classes", "--test", "test.csv", "--json"))
    assert (found["images"], found["accuracy"]) == (3, 1)
