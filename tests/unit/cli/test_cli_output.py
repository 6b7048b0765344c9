import io
import json

import pytest
from rich.console import Console

from moderator.cli.check import SEVERITY
from moderator.cli.output import plain, print_json, verdict_row, verdict_table
from moderator.listing import expand_images
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
    table = verdict_table(width)
    for image, answer in rows:
        table.add_row(*verdict_row(image, answer))
    file = io.StringIO()
    Console(file=file, width=width).print(table)
    return [line.rstrip() for line in file.getvalue().splitlines()]


def test_a_row() -> None:
    heading, row = render(("cat.jpg", verdict()))
    assert heading.split() == ["image", "decision", "category", "score", "top", "prompt", "policy", "ms"]
    assert row.split() == ["cat.jpg", "block", "weapons", "0.93", "a", "gun", "marketplace@2", "21"]


def test_an_error_row() -> None:
    row = render(("cat.jpg", failed()))[1]
    assert row.split()[:3] == ["cat.jpg", "error", "NotAnImage:"]


@pytest.mark.parametrize("width", [80, 100, 200])
def test_rows_are_single_lines_that_fit(width: int) -> None:
    long = "x" * 300
    lines = render(
        (long, verdict(long, long, long)),
        ("猫" * 100, verdict("猫" * 100)),
        (long, failed(long)),
        width=width,
    )
    assert len(lines) == 4
    assert max(map(len, lines)) <= width


@pytest.mark.parametrize("text", ["[red]x[/red]", "[/]", "[bold", "a[/b].jpg", "\\[x]", "\\"])
def test_names_are_no_markup(text: str) -> None:
    for answer in (verdict(text), failed(text)):
        row = render((text, answer), width=200)[1]
        assert row.startswith(text)
        assert text in row[len(text) :]


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
