"""Archived verdicts are judged again: the same decisions, whatever has happened to the archive since."""

import json
import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, nullcontext
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from moderator.archive import database
from moderator.archive.archive_records import read_delivery
from moderator.archive.archive_store import Archive, open_archive
from moderator.archive.evidence_reader import evidence_of
from moderator.archive.segments import seal
from moderator.archive.verdict_filter import VerdictFilter
from moderator.cli.main import app
from moderator.engine.engine import Engine
from moderator.errors import ReplayImpossible
from moderator.queue.embedded_server import EmbeddedServer
from moderator.queue.outbox import Delivery
from moderator.settings import Settings, load_settings
from moderator.tuning import labelled_images
from moderator.tuning.labelled_images import open_engine
from moderator.tuning.replay import replay
from moderator.verdicts import Verdict, revised
from tests.support.archived import make_delivery
from tests.support.policies import activate, release
from tests.support.service import DEMO, ForkedWorker, make_client, until

VERDICTS = 200
POLICY = """\
name: shop
version: {version}
views: {{most: 2}}
safe: [a person, a building, a landscape, food, furniture, a machine]
categories:
  animals: {{unsafe: [a cat, a bird, a wild animal], review: {review}, block: 0.8}}
  tools:
    unsafe: [a hammer, a knife or a fork]
    safe: [a cup of coffee]
    calibration: {{kind: platt, slope: 1.2, offset: 0.1}}
    review: 0.4
  either: {{when: animals or tools, review: 0.3, block: never}}
"""
#: A migration as a later version has one.
LATER = """
import sqlalchemy as sa
from alembic import op

revision, down_revision = "9000", "{before}"


def upgrade():
    op.add_column("verdicts", sa.Column("reviewer", sa.Text))
    op.create_index("verdicts_reviewer", "verdicts", ["reviewer"])
"""


def make_images(folder: Path) -> list[Path]:
    """Parts of photographs; every tenth is two of them side by side, which is judged in views."""
    random = np.random.default_rng(7)
    photographs = [Image.open(path).convert("RGB") for path in sorted(DEMO.glob("*.jpg"))]
    files = []
    for number in range(VERDICTS):
        parts = []
        for photograph in (
            photographs[number % len(photographs)],
            photographs[random.integers(len(photographs))],
        ):
            side = min(photograph.size) * 3 // 4
            left, top = (int(random.uniform(0, length - side)) for length in photograph.size)
            parts.append(photograph.crop((left, top, left + side, top + side)).resize((120, 120)))
        picture = parts[0]
        if number % 10 == 0:
            picture = Image.new("RGB", (264, 120), "white")
            picture.paste(parts[0], (0, 0))
            picture.paste(parts[1], (144, 0))
        picture.save(folder / f"{number}.jpg", quality=90)
        files.append(folder / f"{number}.jpg")
    return files


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return make_images(tmp_path_factory.mktemp("pictures"))


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A policy whose second version sends more to review."""
    folder = tmp_path_factory.mktemp("policies")
    (folder / "shop").mkdir()
    for version, review in ((1, 0.4), (2, 0.05)):
        (folder / "shop" / f"{version}.yaml").write_text(POLICY.format(version=version, review=review))
        release(folder, "shop", version)
    activate(folder, "shop", 1)
    return folder


@pytest.fixture(scope="module")
def deliveries(
    module_server: EmbeddedServer,
    pictures: list[Path],
    shop: Path,
    cache: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> list[Delivery]:
    """What a worker archives of 200 images, as it was when the worker had ended."""
    folder = tmp_path_factory.mktemp("archived")
    url = f"sqlite:///{folder}/archive.sqlite3"
    worker = ForkedWorker(
        folder / "worker",
        redis_url=module_server.url,
        policies=str(shop),
        fetch_roots=str(pictures[0].parent),
        cache=str(cache),
        archive_url=url,
        default_policy="shop",
    ).start()
    with make_client(module_server.url, archive_url=url) as client:
        client.submit_many([{"path": str(path)} for path in pictures], id="set", source="shop")
        with closing(open_archive(Settings(archive_url=url))) as archive:
            until(lambda: len(archive.find(VerdictFilter())) == VERDICTS, 200.0)
            assert worker.stop() == 0, worker.log
            return [
                make_delivery(Verdict.model_validate_json(one.body), evidence_of(archive, one.id))
                for one in archive.find(VerdictFilter())
            ]


@pytest.fixture(scope="module")
def engine(shop: Path, cache: Path) -> Iterator[Engine]:
    with open_engine(Settings(policies=shop, cache=cache, decode="threads")) as engine:
        yield engine


def expect_the_same(archive: Archive, engine: Engine) -> None:
    found = [replay(archive, engine, f"set/{number}", "shop") for number in range(VERDICTS)]
    assert [one.same_decision for one in found] == [True] * VERDICTS
    assert max(one.score_difference for one in found) < 1e-4
    assert len(Counter(one.archived.decision for one in found)) > 1, "this would show little"


def test_verdicts_replay_after_a_restart_an_upgrade_and_on_a_fresh_cache(
    archive_settings: Settings,
    deliveries: list[Delivery],
    engine: Engine,
    shop: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert any(delivery.evidence.views for delivery in deliveries if delivery.evidence)
    with closing(open_archive(archive_settings)) as archive:
        assert archive.add([read_delivery(delivery) for delivery in deliveries]).archived == VERDICTS

    with closing(open_archive(archive_settings)) as archive:
        expect_the_same(archive, engine)

    later = shutil.copytree(database.MIGRATIONS, tmp_path / "later")
    (later / "versions" / "v9000_later.py").write_text(LATER.format(before=database.SCHEMA_REVISION))
    monkeypatch.setattr(database, "MIGRATIONS", later)
    monkeypatch.setattr(database, "SCHEMA_REVISION", "9000")
    with closing(open_archive(archive_settings)) as archive:
        assert seal(archive, everything=True) == 1
        assert archive.database.revision() == "9000"
        expect_the_same(archive, engine)

        fresh = Settings(policies=shop, cache=tmp_path / "fresh", decode="threads")
        with open_engine(fresh, encoder=engine.encoder) as restarted:
            expect_the_same(archive, restarted)


@pytest.mark.parametrize("archive_settings", ["sqlite"], indirect=True)
def test_what_cannot_be_replayed_is_an_error(
    archive_settings: Settings, deliveries: list[Delivery], engine: Engine, pictures: list[Path]
) -> None:
    with closing(open_archive(archive_settings)) as archive:
        archive.add([read_delivery(delivery) for delivery in deliveries])
        verdict = Verdict.model_validate_json(deliveries[0].body)
        other = verdict.model_copy(update={"source": "other"})
        bare = verdict.model_copy(update={"event_id": "bare"})
        edited = verdict.policy.model_copy(update={"digest": "0" * 64})  # type: ignore[union-attr]
        another = verdict.model_copy(update={"event_id": "edited", "policy": edited})
        by_people = revised(verdict, "0", verdict.decision, by="somebody")
        for one in (other, bare, another, by_people):
            archive.add([read_delivery(make_delivery(one))])
        for event, source, message in (
            ("none", None, "no verdict"),
            (verdict.event_id, None, "name one of other, shop"),
            ("bare", None, "no embedding"),
            ("edited", None, "digest"),
        ):
            with pytest.raises(ReplayImpossible, match=message):
                replay(archive, engine, event, source)
        assert replay(archive, engine, verdict.event_id, "shop").same_decision, "not that of people"
        number = int(verdict.event_id.rpartition("/")[2])
        data, wrong = (pictures[n].read_bytes() for n in (number, number - 1))
        assert replay(archive, engine, verdict.event_id, "shop", lambda _: data).score_difference < 0.05
        with pytest.raises(ReplayImpossible, match="SHA-256"):
            replay(archive, engine, verdict.event_id, "shop", lambda _: wrong)


@pytest.mark.parametrize("archive_settings", ["sqlite"], indirect=True)
def test_the_commands_replay_and_backtest(
    archive_settings: Settings,
    deliveries: list[Delivery],
    engine: Engine,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with closing(open_archive(archive_settings)) as archive:
        archive.add([read_delivery(delivery) for delivery in deliveries])
        seal(archive, everything=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MODERATOR_ARCHIVE_URL", archive_settings.archive_url or "")
    monkeypatch.setattr(labelled_images, "open_engine", lambda settings: nullcontext(engine))  # loaded once
    load_settings.cache_clear()

    def run(*words: str) -> str:
        done = CliRunner().invoke(app, words, catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return done.stdout

    try:
        explained = json.loads(run("replay", "set/3", "--json"))
        assert explained["same_decision"]
        assert explained["score_difference"] < 1e-4
        assert explained["policy"]["digest"] == engine.catalogue.get("shop", 1).digest
        category = explained["categories"]["animals"]
        assert category["replayed"]["prompts"][0]["similarity"] > 0
        assert category["replayed"]["score"] == pytest.approx(category["archived"]["score"], abs=1e-4)
        assert explained["categories"]["either"]["when"] == "animals or tools"
        assert "judged by  the archived embedding" in run("replay", "set/3")

        same = json.loads(run("policy", "backtest", "shop", "--json"))
        assert (same["images"], same["flips"], same["not_computable"]) == (VERDICTS, 0, 0)
        archived = Counter(Verdict.model_validate_json(one.body).decision.value for one in deliveries)
        assert {row["before"]: row["images"] for row in same["decisions"]} == archived
        report = tmp_path / "report.html"
        changed = json.loads(run("policy", "backtest", "shop@2", "--json", "--html", str(report)))
        against = json.loads(run("policy", "backtest", "shop@2", "--against", "shop@1", "--json"))
        assert changed["flips"] == against["flips"] > 0
        assert changed["decisions"] == against["decisions"]
        assert changed["categories"] == against["categories"]
        assert {row["category"] for row in changed["samples"]} <= {"animals", "tools", "either"}
        assert "shop@2 decides" in report.read_text()
        assert f"of {VERDICTS} images" in run("policy", "backtest", "shop@2", "--since", "1d")
        none = json.loads(run("policy", "backtest", "shop@2", "--until", "2020-01-01", "--json"))
        assert none["images"] == 0
    finally:
        load_settings.cache_clear()
