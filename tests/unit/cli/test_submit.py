import json
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import pytest
from click.testing import Result
from typer.testing import CliRunner

from moderator.cli.main import app
from moderator.errors import ImageNotFound, NoImages, VerdictTimeout
from moderator.events import Event
from moderator.queue.ledger import Acceptance
from moderator.settings import load_settings
from moderator.verdicts import CategoryVerdict, Decision, ErrorFacts, PolicyFacts, Verdict

MESSAGE = (
    "the picture has too many pixels; make it smaller, or raise the limit that MODERATOR_MAX_PIXELS sets"
)


class FakeClient:
    """Answers as the names of the files say; `none.jpg` never."""

    waits: ClassVar[list[float]] = []
    submitted: ClassVar[list[str]] = []

    def local_image(self, path: Path) -> dict[str, str]:
        return {"path": str(path.resolve())}

    def submit_event(self, body: dict) -> tuple[Event, Acceptance]:
        name = body["metadata"]["file"]
        self.submitted.append(name)
        return Event.model_validate({**body, "id": name}), Acceptance.ACCEPTED

    def validate(self, body: dict) -> None:
        """All of these can be judged."""

    def check_local_image(self, path: Path) -> tuple[Path, bool]:
        return path.resolve(), True

    def wait(self, event: Event, *, timeout: float) -> Verdict:
        self.waits.append(timeout)
        event_id = event.id
        decision = Decision(event_id.removesuffix(".jpg")) if event_id != "none.jpg" else None
        if decision is None:
            raise VerdictTimeout(f"no verdict for {event_id}; is a worker running on this Redis?")
        common = {
            "event_id": event_id,
            "source": event.source,
            "decision": decision,
            "is_safe": decision == "allow",
        }
        if decision is Decision.ERROR:
            return Verdict(**common, error=ErrorFacts(type="ImageTooLarge", message=MESSAGE))
        category = CategoryVerdict(score=0.5, decision=decision)
        policy = PolicyFacts(name="p", version=1, digest="d")
        return Verdict(**common, categories={"c": category}, policy=policy)


@pytest.fixture(autouse=True)
def _client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("moderator.cli.submit.Client", FakeClient)
    FakeClient.waits.clear()
    FakeClient.submitted.clear()
    load_settings.cache_clear()
    for name in ("allow", "review", "block", "error", "none"):
        Path(f"{name}.jpg").touch()
    Path("empty").mkdir()
    yield
    load_settings.cache_clear()


def submit(*arguments: str, width: int = 80) -> Result:
    return CliRunner().invoke(app, ["submit", *arguments], env={"COLUMNS": str(width)})


@pytest.mark.parametrize(
    ("names", "fail_on", "code"),
    [
        ("allow review block", None, 0),
        ("allow review", "block", 0),
        ("allow review", "review", 1),
        ("block allow", "block", 1),
        ("allow error", None, 3),
        ("allow error", "block", 3),
        ("error block", "block", 3),
        ("none allow", None, 3),
        ("block none", "block", 3),
    ],
)
@pytest.mark.parametrize("json_lines", [False, True])
def test_how_it_ends(names: str, fail_on: str | None, code: int, json_lines: bool) -> None:
    files = [f"{name}.jpg" for name in names.split()]
    more = ["--json"] if json_lines else []
    result = submit(*files, "--wait", *(["--fail-on", fail_on] if fail_on else []), *more)
    assert result.exit_code == code, result.output
    lines = result.stdout.splitlines()
    if json_lines:
        assert [json.loads(line)["event_id"] for line in lines] == files
    else:
        starts = [line.split()[0] for line in lines[1:] if not line.startswith(" ")]
        assert starts == files, "one that is not answered keeps no other from being printed"


def test_who_was_not_answered_is_no_decision() -> None:
    record = json.loads(submit("none.jpg", "--wait", "--json").stdout)
    assert (record["decision"], record["error"]["type"]) == (None, "VerdictTimeout")
    assert "is a worker running" in " ".join(submit("none.jpg", "--wait").stdout.split())


def test_a_worker_that_is_not_there_is_waited_for_once() -> None:
    submit("none.jpg", "none.jpg", "none.jpg", "--wait", "--timeout", "0.0")
    assert FakeClient.waits == [0.0, 0.0, 0.0]
    FakeClient.waits.clear()
    submit("none.jpg", "none.jpg", "--wait", "--timeout", "60")
    first, second = FakeClient.waits
    assert 50 < second <= first <= 60, "both until the same moment"


@pytest.mark.parametrize("width", [60, 80])
def test_the_remedy_of_an_error_is_there(width: int) -> None:
    result = submit("error.jpg", "--wait", width=width)
    assert MESSAGE in " ".join(result.stdout.split())
    assert max(map(len, result.stdout.splitlines())) <= width


def test_nothing_is_submitted_where_a_file_is_missing() -> None:
    result = submit("allow.jpg", "nofile.jpg")
    assert isinstance(result.exception, ImageNotFound)
    assert "nofile.jpg" in str(result.exception)
    assert FakeClient.submitted == []


def test_a_folder_without_images_is_an_error() -> None:
    assert isinstance(submit("empty", "--wait").exception, NoImages)


def test_fail_on_needs_verdicts() -> None:
    assert submit("allow.jpg", "--fail-on", "block").exit_code == 2
    assert FakeClient.submitted == []
