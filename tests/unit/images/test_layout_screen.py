import pytest
from PIL import Image

from moderator.cli.demo import PHOTOGRAPHS
from moderator.images.layout_screen import LayoutScreen, line_steps


def photograph(name: str, size: tuple[int, int] = (600, 450)) -> Image.Image:
    return Image.open(PHOTOGRAPHS / name).convert("RGB").resize(size)


def pasted(place: tuple[int, int], side: int) -> Image.Image:
    picture = photograph("cat.jpg")
    picture.paste(photograph("coffee.jpg", (side, side)), place)
    return picture


def may_be_composed(picture: Image.Image) -> bool:
    return LayoutScreen(picture).may_be_composed


def test_most_photographs_are_not_searched() -> None:
    photographs = [Image.open(path).convert("RGB") for path in sorted(PHOTOGRAPHS.glob("*.jpg"))]
    assert sum(map(may_be_composed, photographs)) <= len(photographs) / 2


@pytest.mark.parametrize("place", [(0, 0), (600 - 200, 0), (60, 220), (400, 250)])
def test_a_pasted_photograph_is_searched_for(place: tuple[int, int]) -> None:
    assert may_be_composed(pasted(place, 200))


def test_borders_gaps_and_seams_are_searched_for() -> None:
    for left, right in ((0, 300), (300, 600)):
        bordered = photograph("cat.jpg")
        bordered.paste("white", (left, 0, right, 450))
        assert may_be_composed(bordered)
    beside = photograph("cat.jpg")
    beside.paste(photograph("coffee.jpg", (300, 450)), (0, 0))
    assert may_be_composed(beside)


def test_an_even_line_is_no_edge() -> None:
    fading = Image.linear_gradient("L").resize((600, 450))
    picture = Image.composite(photograph("cat.jpg"), Image.new("RGB", (600, 450), "white"), fading)
    screen = LayoutScreen(picture)
    assert screen.may_be_composed
    assert not screen.has_edges


def test_steps_along_lines_are_where_the_edges_are() -> None:
    picture = Image.new("RGB", (400, 320), "white")
    picture.paste("black", (100, 80, 300, 240))
    for upright, width, sides in ((True, 400, (100, 300)), (False, 320, (80, 240))):
        steps = line_steps(picture, upright)
        assert steps.shape == (32, width - 1)
        # A step at n is between n and n + 1.
        assert [at + 1 for at in steps.any(axis=0).nonzero()[0].tolist()] == list(sides)
        assert steps[:, sides[0] - 1].sum() == 16, "half of the lines"
