import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from moderator.backfill.backfill_run import BackfillSummary
from moderator.cli import backfill as module
from moderator.cli.main import app

SUMMARY = BackfillSummary(
    images=10,
    waiting=0,
    decisions={"allow": 6, "block": 1},
    failures={"FetchFailed": 2, "ImageBroken": 1},
    new=10,
    resubmitted=0,
    skipped=4,
    seconds=2.0,
)


def run(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, summary: BackfillSummary, *words: str
) -> tuple[int, str, dict[str, Any]]:
    """Run the command with a backfill that gives this summary; return the code, the output and the arguments."""
    seen: dict[str, Any] = {}

    def fake(
        source: Any, output: Any, settings: Any, options: Any, stop: Any, reporter: Any
    ) -> BackfillSummary:
        seen.update(source=source.name, options=options)
        reporter.begun(10, 0)
        reporter.done(10)
        return summary

    monkeypatch.setattr(module, "run_backfill", fake)
    result = CliRunner().invoke(app, ["backfill", str(tmp_path), "-o", "results", *words])
    return result.exit_code, result.stdout, seen


def test_the_summary_says_what_failed_and_how_to_try_that_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    code, output, _ = run(monkeypatch, tmp_path, SUMMARY, "--rate", "5", "--engine", "ray")
    assert code == 3
    assert "10 images: allow 6, block 1, error 3" in output
    assert "5.0 images/s" in output
    assert "FetchFailed: 2" in output
    again = f"moderator backfill {tmp_path} -o results --engine ray --rate 5.0"
    assert f"{again} --retry all (or --retry FetchFailed)" in output


def test_what_is_left_can_be_resumed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    left = BackfillSummary(10, 4, {"allow": 6}, {}, 6, 0, 0, 1.0)
    code, output, _ = run(monkeypatch, tmp_path, left)
    assert code == 0
    assert f"4 images are left; resume with: moderator backfill {tmp_path} -o results" in output


def test_json(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    code, output, _ = run(monkeypatch, tmp_path, SUMMARY, "--json")
    assert code == 3
    record = json.loads(output)
    assert (record["images"], record["new"], record["failures"]) == (
        10,
        10,
        {"FetchFailed": 2, "ImageBroken": 1},
    )


@pytest.mark.parametrize(
    ("words", "kinds"),
    [((), None), (("--retry", "all"), ()), (("--retry", "A", "--retry", "B"), ("A", "B"))],
)
def test_which_failures_are_tried_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, words: tuple[str, ...], kinds: tuple[str, ...] | None
) -> None:
    _, _, seen = run(monkeypatch, tmp_path, SUMMARY, *words)
    assert seen["options"].retry == kinds


@pytest.mark.parametrize(("seconds", "text"), [(42.4, "42 s"), (600, "10 min"), (12_600, "3.5 h")])
def test_durations(seconds: float, text: str) -> None:
    assert module.duration(seconds) == text
