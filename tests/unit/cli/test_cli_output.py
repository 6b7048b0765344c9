import io
import json
from pathlib import Path

import pytest
from rich.cells import cell_len
from rich.console import Console

from moderator.cli.check import SEVERITY
from moderator.cli.output import VerdictRows, plain, print_json
from moderator.errors import ImageNotFound, NoImages
from moderator.image_paths import expand_images
from moderator.verdicts import CategoryVerdict, Decision, ErrorFacts, PolicyFacts, TopPrompt, Verdict


def verdict(prompt: str = "a gun", name: str = "weapons", policy: str = "marketplace") -> Verdict:
    top = TopPrompt(prompt=prompt, side="unsafe", similarity=0.3, probability=0.9)
    return Verdict(
        event_id="e",
        source="s",
        decision=Decision.BLOCK,
        is_safe=False,
        unsafe_score=0.934,
        categories={name: CategoryVerdict(score=0.934, decision=Decision.BLOCK, top_prompts=(top,))},
        policy=PolicyFacts(name=policy, version=2, digest="d" * 64),
        timings_ms={"queue": 5000.0, "fetch": 1.0, "embed": 20.4},
    )


def failed(message: str = "no") -> Verdict:
    error = ErrorFacts(type="NotAnImage", message=message)
    return Verdict(event_id="e", source="s", decision=Decision.ERROR, is_safe=False, error=error)


def render(*rows: tuple[str, Verdict], width: int = 80) -> list[str]:
    file = io.StringIO()
    table = VerdictRows(Console(file=file, width=width))
    for image, answer in rows:
        table.add_verdict(image, answer)
    return [line.rstrip() for line in file.getvalue().splitlines()]


def test_a_row() -> None:
    heading, row = render(("cat.jpg", verdict()))
    assert heading.split() == ["image", "decision", "category", "score", "top", "prompt", "policy", "ms"]
    assert row.split() == ["cat.jpg", "block", "weapons", "0.93", "a", "gun", "marketplace@2", "21"]


def test_an_error_row() -> None:
    row = render(("cat.jpg", failed()))[1]
    assert row.split()[:3] == ["cat.jpg", "error", "NotAnImage:"]


@pytest.mark.parametrize("width", [40, 60, 80, 100, 200])
def test_rows_are_single_lines_that_fit(width: int) -> None:
    long = "x" * 300
    lines = render((long, verdict(long, long, long)), ("猫" * 100, verdict("猫" * 100)), width=width)
    assert len(lines) == 3
    assert max(map(cell_len, lines)) <= width


@pytest.mark.parametrize("width", [40, 60, 80, 100, 200])
def test_the_message_of_an_error_is_there_to_its_end(width: int) -> None:
    message = (
        "the picture has 400000000 pixels, more than MAX_PIXELS=100; make it smaller, or raise the setting"
    )
    heading, *lines = render(("x" * 300, failed(message)), ("b.jpg", verdict()), width=width)
    assert max(map(len, lines)) <= width
    assert heading.split()[:2] == ["image", "decision"]
    assert lines[-1].split()[:3] == ["b.jpg", "block", "weapons"]
    words = " ".join(lines[:-1]).split()
    assert words[1:3] == ["error", "NotAnImage:"]
    if width >= 60:
        assert words[3:] == message.split()
    assert "".join(words[3:]) == message.replace(" ", "")


def test_each_row_is_there_when_it_comes() -> None:
    file = io.StringIO()
    rows = VerdictRows(Console(file=file, width=80))
    rows.add_verdict("a.jpg", verdict())
    assert "a.jpg" in file.getvalue()
    rows.add_verdict("b.jpg", verdict())
    assert [line.split()[0] for line in file.getvalue().splitlines()] == ["image", "a.jpg", "b.jpg"]


@pytest.mark.parametrize("text", ["[red]x[/red]", "[/]", "[bold", "a[/b].jpg", "\\[x]", "\\"])
def test_names_are_no_markup(text: str) -> None:
    for answer in (verdict(text), failed(text)):
        row = render((text, answer), width=200)[1]
        assert row.startswith(text)
        assert text in row[len(text) :]


def test_json_reaches_a_terminal_that_knows_few_characters(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(raw, encoding="ascii", errors="replace"))
    print_json(verdict("猫 😀"))
    assert json.loads(raw.getvalue())["categories"]["weapons"]["top_prompts"][0]["prompt"] == "猫 😀"


def test_control_characters_do_not_reach_the_terminal() -> None:
    lines = render(("a\x1b[31m\r\n.jpg", verdict("b\x1b]0;title\x07")))
    assert len(lines) == 2
    assert "\x1b" not in "".join(lines)
    assert plain("a\x1b\u202e猫").plain == "a��猫"


def test_json_lines(capsys: pytest.CaptureFixture[str]) -> None:
    print_json(verdict("line\nbreak"))
    print_json({"id": "e\n"})
    first, second = capsys.readouterr().out.splitlines()
    assert Verdict.model_validate_json(first) == verdict("line\nbreak").model_copy(
        update={"created_at": Verdict.model_validate_json(first).created_at}
    )
    assert json.loads(second) == {"id": "e\n"}


def test_an_image_without_a_judgement_is_worse_than_a_block() -> None:
    assert [str(d) for d in SEVERITY] == ["allow", "review", "block", "error"]
    assert set(SEVERITY) == set(Decision)


def test_a_folder_stands_for_its_images(tmp_path: object) -> None:
    (tmp_path / "b" / "c").mkdir(parents=True)
    for name in ("z.JPG", "b/a.png", "b/c/x.webp", "b/notes.txt", "noext"):
        (tmp_path / name).touch()
    (tmp_path / "folder.png").mkdir()
    assert expand_images([str(tmp_path)]) == [
        str(tmp_path / name) for name in ("b/a.png", "b/c/x.webp", "z.JPG")
    ]
    assert expand_images(["https://example.com/a.jpg"]) == ["https://example.com/a.jpg"]
    assert expand_images(["missing.jpg"]) == ["missing.jpg"]


def test_what_names_no_image_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("empty/inside").mkdir(parents=True)
    Path("texts").mkdir()
    Path("texts/a.txt").touch()
    Path("texts/[a].jpg").touch()
    Path("[a].jpg").touch()
    for names in (["empty"], ["empty", "empty/inside"], ["*.png"], ["empty", "*.png"], ["texts/?.gif"]):
        with pytest.raises(NoImages):
            expand_images(names)
    with pytest.raises(NoImages, match=r"no images in empty: .*\.jpg.* one by one"):
        expand_images(["empty"])
    assert issubclass(NoImages, ImageNotFound)
    assert expand_images(["[a].jpg"]) == ["[a].jpg"]
    assert expand_images(["empty", "texts"]) == ["texts/[a].jpg"]
    assert expand_images(["https://example.com/a?b=*"]) == ["https://example.com/a?b=*"]
    assert expand_images(["a.jpg", "*.png"]) == ["a.jpg", "*.png"], (
        "the one has an answer, and the other an error"
    )
