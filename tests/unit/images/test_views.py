from itertools import pairwise

import numpy as np
import pytest
from PIL import Image, ImageOps

from moderator.cli.demo import PHOTOGRAPHS
from moderator.images import views as module
from moderator.images.rectangles import overlap_of
from moderator.images.views import Region, choose_views
from moderator.view import ViewPlan

PLAN = ViewPlan(10)
ORDINARY = (
    "astronaut.jpg",
    "cameraman.jpg",
    "cat.jpg",
    "coffee.jpg",
    "hedgehog.webp",
    "moose-sideways.jpg",
    "parthenon.jpg",
    "red-panda.jpg",
    "rocket.jpg",
    "scarlet-macaw.jpg",
    "windmills.jpg",
)


def photograph(name: str, size: tuple[int, int] = (300, 240)) -> Image.Image:
    return ImageOps.fit(Image.open(PHOTOGRAPHS / name).convert("RGB"), size)


def canvas(size: tuple[int, int], kind: str) -> Image.Image:
    if kind == "noise":
        return Image.fromarray(
            np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
        )
    return photograph("coffee.jpg", size) if kind == "photograph" else Image.new("RGB", size, kind)


def parts(picture: Image.Image, plan: ViewPlan = PLAN) -> list[Region]:
    found, _ = choose_views(picture, plan)
    assert found[0] == Region("whole", (0, 0, *picture.size))
    assert len(found) <= plan.most
    for part in found:
        left, top, right, bottom = part.box
        assert 0 <= left < right <= picture.width
        assert 0 <= top < bottom <= picture.height
    return found


def shows(found: list[Region], x: int, y: int, size: tuple[int, int] = (300, 240)) -> bool:
    """Whether a part shows a picture at a place, and hardly anything else."""
    place = (x, y, x + size[0], y + size[1])
    return any(overlap_of(part.box, place) > 0.85 for part in found[1:])


def long_picture(size: tuple[int, int]) -> Image.Image:
    """Clouds of colours: something everywhere, and no edges."""
    few = np.random.default_rng(0).integers(0, 256, (size[1] // 20, size[0] // 20, 3), dtype=np.uint8)
    return Image.fromarray(few).resize(size, Image.Resampling.BICUBIC)


@pytest.mark.parametrize("name", ORDINARY)
def test_a_photograph_that_fills_its_frame_has_one_view(name: str) -> None:
    assert len(parts(Image.open(PHOTOGRAPHS / name).convert("RGB"))) == 1


@pytest.mark.parametrize("kind", ["white", "black", "grey", "noise", "photograph"])
@pytest.mark.parametrize(
    ("size", "place"), [((300, 900), (0, 330)), ((1000, 240), (700, 0)), ((640, 560), (340, 320))]
)
def test_a_photograph_in_a_strip_or_a_corner_is_a_view(
    kind: str, size: tuple[int, int], place: tuple[int, int]
) -> None:
    picture = canvas(size, kind)
    picture.paste(photograph("astronaut.jpg"), place)
    assert shows(parts(picture), *place)


@pytest.mark.parametrize("kind", ["white", "black", "noise", "photograph"])
def test_a_photograph_in_the_middle_is_a_view(kind: str) -> None:
    picture = canvas((900, 800), kind)
    picture.paste(photograph("astronaut.jpg"), (330, 250))
    assert shows(parts(picture), 330, 250)


@pytest.mark.parametrize("name", ORDINARY)
@pytest.mark.parametrize("seed", range(3))
def test_a_small_photograph_in_noise_is_a_view(name: str, seed: int) -> None:
    """It hardly makes whole lines of the noise quieter."""
    noise = np.random.default_rng(seed).integers(0, 256, (900, 900, 3), dtype=np.uint8)
    picture = Image.fromarray(noise)
    picture.paste(photograph(name, (330, 200)), (260, 410))
    assert shows(parts(picture), 260, 410, (330, 200))


@pytest.mark.parametrize("seed", range(3))
def test_noise_alone_has_no_parts(seed: int) -> None:
    noise = np.random.default_rng(seed).integers(0, 256, (900, 900, 3), dtype=np.uint8)
    assert [part.name for part in parts(Image.fromarray(noise))] == ["whole"]


def test_a_long_photograph_that_is_all_there_is_gets_squares() -> None:
    picture = canvas((900, 900), "white")
    picture.paste(photograph("astronaut.jpg", (480, 190)), (210, 350))
    assert [part.name for part in parts(picture)] == ["whole", "trimmed", *["square"] * 4]


@pytest.mark.parametrize("gutter", [0, 3, 20])
@pytest.mark.parametrize("columns", [2, 3])
def test_each_picture_of_a_grid_is_a_view(columns: int, gutter: int) -> None:
    picture = Image.new("RGB", (columns * (300 + gutter), columns * (240 + gutter)), "white")
    places = [(x * (300 + gutter), y * (240 + gutter)) for x in range(columns) for y in range(columns)]
    for number, place in enumerate(places):
        picture.paste(photograph(ORDINARY[number]), place)
    found = parts(picture)
    assert all(shows(found, *place) for place in places)


@pytest.mark.parametrize("kind", ["white", "noise"])
def test_what_remains_beside_an_empty_piece_has_no_borders(kind: str) -> None:
    picture = canvas((300, 900), kind)
    picture.paste(photograph("astronaut.jpg"), (0, 0))
    assert [part.name for part in parts(picture)] == ["whole", "trimmed"]
    assert shows(parts(picture), 0, 0)
    picture.paste(photograph("cat.jpg"), (0, 660))
    assert {part.name for part in parts(picture)} == {"whole", "panel"}, (
        "two pictures are no content with a border"
    )


@pytest.mark.parametrize(
    ("below", "name", "place"),
    [
        ("cat.jpg", "coffee.jpg", (560, 120)),
        ("parthenon.jpg", "astronaut.jpg", (40, 520)),
        ("windmills.jpg", "astronaut.jpg", (560, 120)),
    ],
)
def test_a_photograph_on_a_larger_one_is_a_view(below: str, name: str, place: tuple[int, int]) -> None:
    picture = photograph(below, (900, 900))
    picture.paste(photograph(name), place)
    assert shows(parts(picture), *place)


@pytest.mark.parametrize(
    ("below", "name"),
    [("coffee.jpg", "rocket.jpg"), ("cat.jpg", "scarlet-macaw.jpg"), ("moose-sideways.jpg", "red-panda.jpg")],
)
def test_a_narrow_photograph_on_a_larger_one_is_a_view(below: str, name: str) -> None:
    picture = photograph(below, (640, 560))
    picture.paste(photograph(name, (300, 60)), (120, 90))
    assert shows(parts(picture), 120, 90, (300, 60))


def test_a_thing_on_a_background_has_a_view_if_it_is_small() -> None:
    hammer = Image.open(PHOTOGRAPHS / "hammer.jpg").convert("RGB")
    small = Image.new("RGB", (3 * hammer.width, 3 * hammer.height), "white")
    small.paste(hammer, (hammer.width, hammer.height))
    found = parts(small)
    assert [part.name for part in found] == ["whole", "trimmed"]


@pytest.mark.parametrize("size", [(200, 1000), (1000, 200)])
def test_a_long_photograph_is_covered_by_squares(size: tuple[int, int]) -> None:
    found = parts(long_picture(size))[1:]
    assert {part.name for part in found} == {"square"}
    along = 0 if size[0] > size[1] else 1
    spans = sorted((part.box[along], part.box[along + 2]) for part in found)
    assert (spans[0][0], spans[-1][1]) == (0, 1000)
    assert all(after[0] < before[1] for before, after in pairwise(spans))


def test_squares_of_a_long_part_come_before_other_parts_of_their_size() -> None:
    picture = Image.new("RGB", (200, 2400))
    picture.paste(photograph("windmills.jpg", (200, 400)))
    for number in range(10):
        picture.paste(photograph(ORDINARY[number], (200, 200)), (0, 400 + 200 * number))
    squares = [part.box for part in parts(picture) if part.name == "square"]
    assert {(0, 0, 200, 200), (0, 200, 200, 400)} <= set(squares)


def test_more_parts_than_allowed_are_counted() -> None:
    found, left_out = choose_views(long_picture((100, 3000)), PLAN)
    assert len(found) == 10
    assert left_out > 10
    tops = sorted(part.box[1] for part in found[1:])
    assert (tops[0], tops[-1]) == (0, 2900)
    assert max(after - before for before, after in pairwise(tops)) < 700, "spread over the whole length"


def test_an_empty_picture_has_one_view() -> None:
    assert len(parts(Image.new("RGB", (300, 900), "white"))) == 1


def test_turned_pictures_come_after_the_whole_and_within_the_bound() -> None:
    plan = ViewPlan(10, turned=True)
    found = parts(photograph("cat.jpg"), plan)
    assert [part.turn for part in found] == [0, 90, 180, 270]
    picture = Image.new("RGB", (600, 480), "white")
    for number in range(4):
        picture.paste(photograph(ORDINARY[number]), (300 * (number % 2), 240 * (number // 2)))
    found = parts(picture, plan)
    assert [part.turn for part in found[:5]] == [0, 90, 180, 270, 0]
    assert len(found) == 10


def test_one_view_is_the_whole_and_nothing_is_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_Search", None)
    assert len(parts(long_picture((200, 1000)), ViewPlan(1))) == 1


def test_a_very_large_picture_has_tiles() -> None:
    found, _ = choose_views(photograph("cat.jpg"), PLAN, pixels=40_000_000)
    assert [part.name for part in found] == ["whole", *["tile"] * 5]


@pytest.mark.parametrize("size", [(1, 1), (2, 1), (1, 5000), (5000, 1), (23, 23), (30, 700)])
def test_any_size_has_views_within_the_picture(size: tuple[int, int]) -> None:
    parts(Image.effect_noise(size, 90).convert("RGB"), ViewPlan(64, turned=True))
