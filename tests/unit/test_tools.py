"""No test is skipped in silence: in CI, what is missing is a failure."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.tools import in_ci, missing, needs, needs_extra

TESTS = Path(__file__).parents[1]
#: What no package brings: devices, systems, rights, networks, and what a parameter does not apply to.
ALLOWED = (
    "no CUDA device",
    "there is a CUDA device",
    "Linux alone has it",
    "looks for processes in /proc",
    "needs a network of its own",
    "the registry of npm cannot be reached",
    "the encoder writes none",
    "looks at no pixels",
    "pytest.skip(str(reason))",  # the right to mount
    "pytest.skip(row.skipped)",  # the same, in the table of faults
    "reason=str(WHY_NOT)",  # the right to make a container
)


@pytest.mark.parametrize("ci", [None, "", "false"])
def test_elsewhere_it_is_skipped_with_the_reason(monkeypatch: pytest.MonkeyPatch, ci: str | None) -> None:
    monkeypatch.delenv("CI", raising=False) if ci is None else monkeypatch.setenv("CI", ci)
    assert not in_ci()
    with pytest.raises(
        pytest.skip.Exception, match="no-such-program is not installed; apt-get install some-package"
    ):
        needs("no-such-program", package="some-package")
    with pytest.raises(pytest.skip.Exception, match=r"pip install 'moderator\[hash\]'"):
        needs_extra("no_such_module", "hash")


@pytest.mark.parametrize("ci", ["true", "True", "1"])
def test_in_ci_it_fails(monkeypatch: pytest.MonkeyPatch, ci: str) -> None:
    monkeypatch.setenv("CI", ci)
    for ask in (
        lambda: needs("no-such-program", package="some-package"),
        lambda: needs_extra("no_such_module", "hash"),
        lambda: missing("nothing", "nowhere"),
    ):
        with pytest.raises(pytest.fail.Exception):
            ask()


def test_a_whole_module_fails_in_ci_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "test_extra.py"
    file.write_text(
        "from tests.support.tools import needs_extra\nneeds_extra('no_such_module', 'x')\ndef test(): pass\n"
    )
    command = [sys.executable, "-m", "pytest", "-q", "-ra", "-p", "no:cacheprovider", str(file)]
    for ci, code in (("true", 2), ("", 5)):
        monkeypatch.setenv("CI", ci)
        done = subprocess.run(command, capture_output=True, text=True, cwd=TESTS.parent, timeout=60)
        assert done.returncode == code, done.stdout
        assert "no_such_module" in done.stdout


def test_what_is_there_is_returned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    assert Path(needs("sh", package="dash")).exists()
    assert needs_extra("json", "none").loads("1") == 1


def test_every_skip_asks_there() -> None:
    skips = re.compile(r"(?:pytest\.skip|importorskip|mark\.skip(?:if)?)\(.*?(?:\n\)|\)$)", re.M | re.S)
    own = [
        f"{path.relative_to(TESTS)}: {call}"
        for path in sorted(TESTS.rglob("test_*.py"))
        if path != Path(__file__)
        for call in skips.findall(path.read_text())
        if not any(reason in call for reason in ALLOWED)
    ]
    assert own == []
