"""Pictures of samples: only of the image that the verdict is about."""

from hashlib import sha256
from pathlib import Path

import pytest

from moderator import Settings
from moderator.engine.engine import Engine
from moderator.errors import ImageNotFound
from moderator.events import ImageReference
from moderator.fetching.fetcher import Fetcher
from moderator.tuning.rollout import Disagreement
from moderator.tuning.sample_pictures import find_by_digest, sample_pictures
from tests.support.colour_encoder import ColourEncoder, picture, write_policies

RED, BLUE = picture("red"), picture("blue")


def sample(data: bytes, key: str | None = None) -> Disagreement:
    return Disagreement(
        "e",
        "shop",
        "2026-03-01T12:00:00Z",
        "allow",
        "block",
        "red",
        0.1,
        0.9,
        sha256(data).hexdigest(),
        key,
        None,
    )


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    settings = Settings(
        policies=write_policies(tmp_path / "policies"), default_policy="colours", cache=tmp_path / "cache"
    )
    return Engine(settings, encoder=ColourEncoder())


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """What a bucket holds, by key."""
    objects: dict[str, bytes] = {}

    def fetch(self: Fetcher, reference: ImageReference) -> bytes:
        if reference.key not in objects:
            raise ImageNotFound("there is none")
        return objects[reference.key]

    monkeypatch.setattr(Fetcher, "fetch", fetch)
    return objects


def test_an_object_is_shown_unless_it_is_gone_or_another_by_now(
    engine: Engine, bucket: dict[str, bytes]
) -> None:
    bucket |= {"b/same": RED, "b/overwritten": BLUE, "b/broken": b"no image"}
    same, overwritten, gone = (sample(RED, f"b/{name}") for name in ("same", "overwritten", "gone"))
    broken = sample(b"no image", "b/broken")
    found = dict(sample_pictures(engine, [overwritten, gone, broken, same, sample(RED)], None))
    assert list(found) == [same]
    assert found[same][8:12] == b"WEBP"


def test_files_are_found_by_what_they_hold(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "any.name").write_bytes(RED)
    (tmp_path / "blue.png").write_bytes(BLUE)
    (tmp_path / "a" / "loop").symlink_to(tmp_path)
    digest = sha256(RED).hexdigest()
    assert find_by_digest(tmp_path, {digest, "0" * 64}) == {digest: tmp_path / "a" / "b" / "any.name"}
