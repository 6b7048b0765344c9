from moderator.images.rectangles import find_rectangles
from moderator.images.seams import Edge

BOX = (0, 0, 100, 100)


def edge(position: int, start: int, end: int) -> Edge:
    return Edge(position, start, end, 0.9)


def test_four_edges_that_meet_are_a_rectangle() -> None:
    upright, level = [edge(20, 30, 80), edge(70, 30, 80)], [edge(30, 20, 70), edge(80, 20, 70)]
    assert find_rectangles(upright, level, BOX, 10)[0] == (20, 30, 70, 80)
    assert find_rectangles(upright, [], BOX, 10) == []
    assert (20, 30, 70, 80) not in find_rectangles(upright, level, BOX, 60), "too small"


def test_the_sides_of_the_picture_count_in_a_corner() -> None:
    assert find_rectangles([edge(60, 0, 50)], [edge(50, 0, 60)], BOX, 10) == [(0, 0, 60, 50)]
    assert find_rectangles([edge(60, 0, 100)], [], BOX, 10) == []


def test_edges_that_end_elsewhere_do_not_meet() -> None:
    upright, level = [edge(20, 0, 20), edge(70, 0, 20)], [edge(50, 20, 70), edge(90, 20, 70)]
    assert find_rectangles(upright, level, BOX, 10) == []


def test_edges_that_run_on_are_no_sides() -> None:
    assert find_rectangles([edge(60, 0, 100)], [edge(50, 0, 60)], BOX, 10) == []


def test_the_rectangle_with_the_best_corners_comes_first() -> None:
    upright, level = (
        [edge(10, 10, 90), edge(90, 10, 90)],
        [edge(10, 10, 90), edge(88, 10, 90), edge(80, 14, 85)],
    )
    found = find_rectangles(upright, level, BOX, 20)
    assert found[0] == (10, 10, 90, 88)
    assert (10, 10, 90, 80) in found
