"""Which views an image is judged in, and what the verdict says about them."""

from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from moderator import Decision, Moderator, Settings
from moderator.engine.engine import Engine
from moderator.engine.judge import Judged
from moderator.engine.preparer import Prepared
from moderator.engine.stopwatch import Stopwatch
from moderator.events import Event
from moderator.view import View
from tests.support.colour_encoder import ColourEncoder
from tests.support.policies import release

POLICY = """\
name: colours
version: {version}
safe: [green, blue, white]
views: {views}
categories:
  red: {{unsafe: [red], block: 0.5}}
"""
VERSIONS = {1: "{}", 2: "{most: 1}", 3: "{turned: true}"}
EVENT = Event.model_validate({"id": "e", "source": "s", "image": {"inline": "eA=="}})


@pytest.fixture
def policies(tmp_path: Path) -> Path:
    folder = tmp_path / "policies"
    (folder / "colours").mkdir(parents=True)
    for version, views in VERSIONS.items():
        (folder / "colours" / f"{version}.yaml").write_text(POLICY.format(version=version, views=views))
        release(folder, "colours", version)
    return folder


def made(policies: Path, pointer: str, views: int = 10) -> Moderator:
    (policies / "active.yaml").write_text(f"colours: {{{pointer}}}\n")
    settings = Settings(
        policies=policies, default_policy="colours", cache=policies.parent / "cache", views=views
    )
    return Moderator(settings, encoder=ColourEncoder())


def corner() -> bytes:
    """Reds in a corner of a white picture."""
    picture = Image.new("RGB", (120, 120), "white")
    reds = np.random.default_rng(0).integers((200, 0, 0), (256, 40, 40), (40, 50, 3), dtype=np.uint8)
    picture.paste(Image.fromarray(reds), (70, 80))
    file = BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()


def judged(engine: Engine, version: int) -> tuple[Prepared, Judged]:
    event = EVENT.model_copy(update={"policy": f"colours@{version}"})
    prepared = engine.preparer.prepare(corner(), engine.resolver.select_for(event))
    return prepared, engine.judge(event, prepared, engine.embed(prepared.pixels), Stopwatch())


def test_the_verdict_names_the_view_that_decided(policies: Path) -> None:
    (verdict,) = made(policies, "active: 1").check([corner()])
    assert verdict.decision is Decision.BLOCK
    assert verdict.categories["red"].view == View("trimmed", 0, (70, 80, 50, 40))
    assert verdict.image.views == 2
    assert verdict.image.frames == 1


def test_the_whole_alone_where_the_settings_or_the_policy_say_so(policies: Path) -> None:
    for moderator in (made(policies, "active: 1", views=1), made(policies, "active: 2")):
        (verdict,) = moderator.check([corner()])
        assert verdict.decision is Decision.ALLOW
        assert (verdict.categories["red"].view, verdict.image.views) == (None, 1)


def test_turned_pictures_where_the_policy_asks_for_them(policies: Path) -> None:
    prepared, _ = judged(made(policies, "active: 1").engine, 3)
    assert [(view.name, view.turn) for view in prepared.views[:5]] == [
        *(("whole", turn) for turn in (0, 90, 180, 270)),
        ("trimmed", 0),
    ]


def test_a_shadow_judges_the_views_that_it_asks_for_and_changes_none(policies: Path) -> None:
    alone, beside = made(policies, "active: 1"), None
    expected = alone.engine.preparer.prepare(corner(), alone.engine.resolver.select_for(EVENT))
    beside = made(policies, "active: 1, shadow: [2, 3]")
    found = beside.engine.preparer.prepare(corner(), beside.engine.resolver.select_for(EVENT))
    np.testing.assert_array_equal(found.pixels, expected.pixels)
    assert found.views == expected.views
    (verdict,) = beside.check([corner()])
    fewer, turned = verdict.shadow
    assert (verdict.decision, fewer.decision, turned.decision) == (
        Decision.BLOCK,
        Decision.ALLOW,
        Decision.BLOCK,
    )
    assert fewer.categories["red"].view is None
    assert turned.categories["red"].view == verdict.categories["red"].view


def test_stored_embeddings_and_views_give_the_same(policies: Path) -> None:
    engine = made(policies, "active: 1").engine
    prepared, first = judged(engine, 3)
    selection = engine.resolver.select("colours@3", "")
    embeddings = engine.embed(prepared.pixels)
    again = engine._judge.judge(embeddings, first.readings, selection, views=prepared.views)
    assert again.judgement == first.judgement
