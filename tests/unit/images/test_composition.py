from PIL import Image

from moderator.images.composition import Box, Disposal, Patch, compose, unpremultiplied

RED, BLUE, CLEAR = (255, 0, 0, 255), (0, 0, 255, 255), (0, 0, 0, 0)


def patch(colour: tuple[int, ...], box: Box, disposal: Disposal = Disposal.KEEP, over: bool = True) -> Patch:
    return Patch(Image.new("RGBa", (box[2] - box[0], box[3] - box[1]), colour), box, disposal, over)


def shown(*patches: Patch) -> list[list[tuple[int, ...]]]:
    """The pixels of a canvas of 3 x 1 with each frame."""
    return [[image.getpixel((x, 0)) for x in range(3)] for image in compose((3, 1), patches)]  # type: ignore[misc]


def test_frames_build_on_each_other() -> None:
    assert shown(patch(RED, (0, 0, 1, 1)), patch(BLUE, (1, 0, 2, 1))) == [
        [RED, CLEAR, CLEAR],
        [RED, BLUE, CLEAR],
    ]


def test_a_frame_is_cleared_or_restored_before_the_next() -> None:
    frames = [
        patch(RED, (0, 0, 3, 1)),
        patch(BLUE, (0, 0, 1, 1), Disposal.RESTORE),
        patch(BLUE, (1, 0, 2, 1), Disposal.CLEAR),
        patch(CLEAR, (0, 0, 3, 1)),
    ]
    assert shown(*frames)[1:] == [[BLUE, RED, RED], [RED, BLUE, RED], [RED, CLEAR, RED]]


def test_a_frame_may_replace_what_is_there_by_nothing() -> None:
    first = patch(RED, (0, 0, 3, 1))
    assert shown(first, patch(CLEAR, (1, 0, 3, 1), over=False))[1] == [RED, CLEAR, CLEAR]


def test_what_lies_outside_is_cut_off() -> None:
    assert shown(patch(RED, (2, 0, 9, 5))) == [[CLEAR, CLEAR, RED]]
    assert shown(patch(RED, (3, 0, 9, 5)), patch(BLUE, (0, 0, 1, 1))) == [[CLEAR] * 3, [BLUE, CLEAR, CLEAR]]


def test_blending_has_the_browsers_rounding() -> None:
    half, third = (100, 50, 0, 128), (0, 20, 60, 90)
    scale = 256 - 90
    expected = tuple(above + (below * scale >> 8) for above, below in zip(third, half, strict=True))
    assert shown(patch(half, (0, 0, 3, 1)), patch(third, (0, 0, 1, 1)))[1] == [expected, half, half]


def test_colours_come_back_rounded() -> None:
    image = Image.new("RGBa", (2, 1), (100, 50, 0, 200))
    image.putpixel((1, 0), (0, 0, 0, 0))
    back = unpremultiplied(image)
    assert (back.mode, back.getpixel((0, 0)), back.getpixel((1, 0))) == (
        "RGBA",
        (128, 64, 0, 200),
        (0, 0, 0, 0),
    )
