"""Labelled images of one colour, an encoder that knows colours, and a policy about them."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image, ImageOps

from moderator import Settings
from moderator.cli.demo import PHOTOGRAPHS
from moderator.engine.engine import Engine
from moderator.policies.schema import Policy
from moderator.tuning.labelled_images import open_engine
from tests.support.colour_encoder import ColourEncoder, picture, write_policies

COLOURS = ("red", "green", "blue", "red", "white")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(
        policies=write_policies(tmp_path / "policies"),
        cache=tmp_path / "cache",
        max_batch=4,
        threads=2,
        decode="threads",
    )


@pytest.fixture
def encoder() -> ColourEncoder:
    return ColourEncoder()


@pytest.fixture
def engine(settings: Settings, encoder: ColourEncoder) -> Iterator[Engine]:
    with open_engine(settings, encoder) as engine:
        yield engine


@pytest.fixture
def policy(engine: Engine) -> Policy:
    return engine.catalogue.get("colours", 1)


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    """Images of one colour, one pasted on a white page, one that is broken, and one that is not there."""
    folder = tmp_path / "images"
    folder.mkdir()
    for number, colour in enumerate(COLOURS):
        (folder / f"{number}.png").write_bytes(picture(colour))
    pasted = Image.new("RGB", (640, 560), "white")
    panda = Image.open(PHOTOGRAPHS / "red-panda.jpg").convert("RGB")
    pasted.paste(ImageOps.fit(panda, (300, 240)), (340, 320))
    pasted.save(folder / "pasted.png")
    (folder / "broken.png").write_bytes(picture("red")[:40])
    rows = [f"{n}.png,{'red' if colour == 'red' else 'safe'},{n % 2}" for n, colour in enumerate(COLOURS)]
    file = folder / "labels.csv"
    file.write_text(
        "\n".join(["path,category,odd", *rows, "pasted.png,red,0", "broken.png,red,0", "no.png,,1"])
    )
    return file
