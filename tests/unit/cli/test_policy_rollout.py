"""The command over an archive, and over the stream where there is none."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from moderator.archive.archive_records import read_delivery
from moderator.archive.archive_store import open_archive
from moderator.cli.policy import app
from moderator.errors import PolicyNotFound
from moderator.queue.ledger import Answer, Claim, Ledger
from moderator.settings import Settings, load_settings
from moderator.testing.memory_queue import MemoryServer
from moderator.tuning.rollout_verdicts import streamed_verdicts
from moderator.verdicts import (
    CategoryVerdict,
    Decision,
    ErrorFacts,
    ImageFacts,
    PolicyFacts,
    ShadowVerdict,
    Verdict,
)
from tests.support.archived import make_delivery
from tests.support.colour_encoder import ColourEncoder, picture, write_policies
from tests.support.ledger_events import event
from tests.support.tools import needs_extra

NOW = datetime.now(UTC)
RED = picture("red")


def verdict(number: int, shadow: Decision, version: int = 1) -> Verdict:
    """Version 1 blocks it, and its shadow 2 decides as given."""
    categories = {"red": CategoryVerdict(0.9, Decision.BLOCK)}
    beside = ShadowVerdict(version=2, digest="d", decision=shadow, categories=categories)
    if shadow is Decision.ERROR:
        error = ErrorFacts(type="SignalFailed", message="the list is \x1b[31mgone")
        beside = ShadowVerdict(version=2, digest="d", decision=shadow, error=error)
    return Verdict(
        event_id=f"e{number}",
        source="shop",
        decision=Decision.BLOCK,
        is_safe=False,
        categories=categories,
        policy=PolicyFacts(name="colours", version=version, digest="d"),
        image=ImageFacts(sha256=sha256(RED).hexdigest(), width=20, height=10, format="PNG"),
        shadow=(beside,),
        created_at=NOW - timedelta(minutes=number),
    )


VERDICTS = [
    *(verdict(n, Decision.BLOCK) for n in range(8)),
    *(verdict(n, Decision.ALLOW) for n in range(8, 10)),
    verdict(10, Decision.ERROR),
    verdict(60 * 24 * 9, Decision.ALLOW),
]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A service with an archive of these verdicts."""
    settings = {
        "policies": write_policies(tmp_path / "policies"),
        "archive_url": f"sqlite:///{tmp_path / 'archive.sqlite3'}",
        "cache": tmp_path / "cache",
        "decode": "threads",
    }
    for name, value in settings.items():
        monkeypatch.setenv(f"MODERATOR_{name.upper()}", str(value))
    monkeypatch.setattr("moderator.engine.engine.encoder_of", lambda *arguments: ColourEncoder())
    load_settings.cache_clear()
    archive = open_archive(Settings())
    archive.add([read_delivery(make_delivery(one)) for one in VERDICTS])
    archive.close()
    yield tmp_path
    load_settings.cache_clear()


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["rollout", "colours", *arguments])


def test_it_says_what_would_change_and_the_next_command(folder: Path) -> None:
    result = run()
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[0].startswith("colours: 11 verdicts from the archive, since ")
    assert "shadow 2: judged 10 images, failed on 1" in lines
    assert "1 x SignalFailed: the list is \N{REPLACEMENT CHARACTER}[31mgone" in result.stdout
    assert "block to allow" in result.stdout
    assert "If colours@2 were promoted, 20.0 % (5.7 to 51.0) of the images would be decided" in result.stdout
    assert lines[-1] == "Next: moderator policy lint colours@2"


def test_json_is_one_object(folder: Path) -> None:
    record = json.loads(run("--json", "--since", "30d").stdout)
    assert (record["verdicts"], record["shadows"][0]["judged"]) == (12, 11)
    assert record["canary"] is None


def test_a_report_shows_images_that_are_still_there(folder: Path) -> None:
    needs_extra("jinja2", "tuning")
    (folder / "uploads" / "deep").mkdir(parents=True)
    (folder / "uploads" / "deep" / "renamed").write_bytes(RED)
    (folder / "uploads" / "other.png").write_bytes(picture("blue"))
    page = folder / "rollout.html"
    result = run("--html", str(page), "--images", str(folder / "uploads"))
    assert result.exit_code == 0, result.output
    html = page.read_text("utf-8")
    assert html.count('src="data:image/webp;base64,') == 2
    assert "block to allow: all 2" in html
    assert "SignalFailed" in html
    assert "moderator policy lint colours@2" in html


def test_a_canary_is_compared_with_the_active_version(folder: Path) -> None:
    (folder / "policies" / "active.yaml").write_text(
        "colours: {active: 1, shadow: [2], canary: {version: 3, percent: 10}}\n"
    )
    result = run()
    assert result.exit_code == 0, result.output
    assert "In no hour did both colours@3 and version 1 decide: wait for events." in result.stdout
    archive = open_archive(Settings())
    # At the same moments as those of version 1.
    decided = [
        verdict(n, Decision.BLOCK, version=3).model_copy(update={"source": "other"}) for n in range(11)
    ]
    archive.add([read_delivery(make_delivery(one)) for one in decided])
    archive.close()
    page = folder / "rollout.html"
    result = run("--html", str(page))
    assert "canary 3 (10 %): " in result.stdout
    assert result.stdout.splitlines()[-1] == "Next: moderator policy promote colours@3"
    assert "Canary: version 3" in page.read_text("utf-8")


def test_without_shadow_and_canary_it_says_how_to_make_one(folder: Path) -> None:
    (folder / "policies" / "active.yaml").write_text("colours: {active: 1}\n")
    result = run()
    assert isinstance(result.exception, PolicyNotFound)
    assert "moderator policy shadow colours@VERSION" in str(result.exception)


def test_the_stream_is_read_back_to_the_moment_asked_for() -> None:
    server = MemoryServer()
    ledger = Ledger(server.executor, 60.0)
    for one in sorted(VERDICTS, key=lambda verdict: verdict.created_at):
        published = event(one.event_id)
        (claim,) = ledger.claim([published])
        assert isinstance(claim, Claim)
        ledger.publish([Answer(published, one, claim=claim)], ttl=60.0, stream_length=1000)
    origin = streamed_verdicts(server.executor, NOW - timedelta(days=7))
    assert [found["event_id"] for found in origin.verdicts] == [f"e{n}" for n in range(11)]
    assert "the stream" in origin.name
