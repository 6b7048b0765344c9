import numpy as np
import pytest
from PIL import Image, ImageOps

from moderator.cli.demo import PHOTOGRAPHS
from moderator.images.seams import checked, sample, short_edges, spanning_edges, upright_steps


def photograph(name: str, size: tuple[int, int]) -> Image.Image:
    return ImageOps.fit(Image.open(PHOTOGRAPHS / name).convert("RGB"), size)


@pytest.mark.parametrize("upright", [True, False])
@pytest.mark.parametrize("at", [97, 200, 311])
def test_an_edge_between_two_photographs_is_found_where_it_is(at: int, upright: bool) -> None:
    canvas = photograph("coffee.jpg", (400, 400))
    canvas.paste(photograph("astronaut.jpg", (400, 400)), (at, 0) if upright else (0, at))
    box = (0, 0, 400, 400)
    levels = sample(canvas, box)
    steps = upright_steps(levels if upright else levels.transpose(0, 2, 1))
    (edge,) = spanning_edges(canvas, box, steps, upright, 0.65)
    assert abs(edge.position - at) <= 1
    assert (edge.start, edge.end) == (0, 400)


def test_an_edge_along_a_part_is_found_with_its_ends() -> None:
    canvas = photograph("coffee.jpg", (480, 480))
    canvas.paste(photograph("astronaut.jpg", (200, 240)), (90, 120))
    box = (0, 0, 480, 480)
    edges = short_edges(box, upright_steps(sample(canvas, box)), True)
    for position in (90, 290):
        (rough,) = [edge for edge in edges if abs(edge.position - position) <= 3]
        edge = checked(canvas, rough, 3.0, True)
        assert abs(edge.position - position) <= 1
        assert edge.share > 0.5
        assert abs(edge.start - 120) < 40
        assert abs(edge.end - 360) < 40


@pytest.mark.parametrize("name", ["astronaut.jpg", "cat.jpg", "coffee.jpg", "red-panda.jpg", "windmills.jpg"])
def test_a_photograph_has_no_edge_from_end_to_end(name: str) -> None:
    picture = Image.open(PHOTOGRAPHS / name).convert("RGB")
    levels = sample(picture, (0, 0, *picture.size))
    for upright, view in ((True, levels), (False, levels.transpose(0, 2, 1))):
        assert spanning_edges(picture, (0, 0, *picture.size), upright_steps(view), upright, 0.65) == []


@pytest.mark.parametrize("size", [(1, 1), (2, 2), (3, 5), (1, 300), (300, 1)])
def test_edges_of_tiny_pictures_are_inside_them(size: tuple[int, int]) -> None:
    picture = Image.effect_noise(size, 90).convert("RGB")
    box = (0, 0, *size)
    levels = sample(picture, box)
    for upright, view in ((True, levels), (False, levels.transpose(0, 2, 1))):
        steps = upright_steps(view)
        side = picture.width if upright else picture.height
        found = [*spanning_edges(picture, box, steps, upright, 0.65), *short_edges(box, steps, upright)]
        assert all(0 < edge.position < side for edge in found)


def test_a_sample_is_bounded_and_has_the_pixels_of_the_part() -> None:
    picture = photograph("coffee.jpg", (400, 300))
    assert sample(picture, (0, 0, 400, 300)).shape == (3, 96, 96)
    part = sample(picture, (10, 20, 60, 50))
    np.testing.assert_array_equal(part, np.asarray(picture)[20:50, 10:60].transpose(2, 0, 1))
