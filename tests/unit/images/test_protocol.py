import struct
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from moderator.errors import DecodeTimeout, ImageBroken, ImageTooLarge, ModeratorError, NotAnImage, Unexpected
from moderator.images.decode import Coverage, DecodeLimits
from moderator.images.prepare import FILE_VIEWS_MAX, PICTURE_PIXELS, PreparedImage, PreprocessSpec
from moderator.images.protocol import (
    REPLY_SIZE,
    VIEW_SIZE,
    Found,
    MemoryLayout,
    ReplyInvalid,
    check_sizes,
    dump_spec,
    load_spec,
    pack_error,
    pack_image,
    pack_views,
    parse_reply,
    parse_views,
)
from moderator.images.resize import Resize
from moderator.view import View, ViewPlan

LIMITS = DecodeLimits(max_bytes=1000, max_pixels=10_000, max_frames=4, timeout=2.5)
SPEC = PreprocessSpec(LIMITS, Resize(9, 8, Image.Resampling.BILINEAR, squash=True), draft=True, max_views=3)
PLAN = ViewPlan(3, turned=True)


NUMBER = 7


def reply(
    good: int = 1,
    number: int = NUMBER,
    width: int = 3,
    height: int = 2,
    pictures: int = 1,
    views: int = 1,
    left_out: int = 0,
    judged: int = 1,
    total: int = 1,
    unseen: int = 0,
    kind: bytes = b"png",
    error: bytes = b"",
    message: bytes = b"",
) -> bytes:
    counts = pictures, views, left_out, judged, total, unseen, 0
    return struct.pack("<BQIIIIIIIIB8s32s512s", good, number, width, height, *counts, kind, error, message)


@pytest.mark.parametrize("squash", [False, True])
@pytest.mark.parametrize("draft", [False, True])
def test_a_recipe_arrives_as_it_was(squash: bool, draft: bool) -> None:
    spec = PreprocessSpec(
        LIMITS, Resize(9, 8, Image.Resampling.LANCZOS, squash=squash, rounded=not squash), draft, 7
    )
    assert load_spec(dump_spec(spec)) == spec


def test_there_is_room_for_the_largest_file_and_the_most_frames() -> None:
    views_at = 1000 + 12 * 3 * 8 * 8 * 3
    sizes_at = views_at + 12 * 3 * VIEW_SIZE
    pictures_at = sizes_at + 12 * 2 * 4
    assert MemoryLayout.of(SPEC) == MemoryLayout(
        1000, views_at, sizes_at, pictures_at, pictures_at + 3 * PICTURE_PIXELS
    )


def test_there_is_no_room_for_all_views_of_very_many_pictures() -> None:
    layout = MemoryLayout.of(replace(SPEC, max_views=64))
    assert layout.sizes_at - layout.views_at == FILE_VIEWS_MAX * VIEW_SIZE


@pytest.mark.parametrize(
    "sizes",
    [[(0, 5)], [(5, 0)], [(PICTURE_PIXELS, 2)], [(2**32 - 1, 2**32 - 1)], [(1, 1)] * 3 + [(4000, 3000)]],
)
def test_pictures_of_impossible_sizes(sizes: list[tuple[int, int]]) -> None:
    with pytest.raises(ReplyInvalid, match="pictures"):
        check_sizes(np.array(sizes, dtype=np.uint32))


@given(st.integers(1, 100), st.integers(1, 100), st.sampled_from(["jpeg", "avif", "ico"]), st.integers(1, 4))
def test_a_picture_arrives_as_it_was(width: int, height: int, kind: str, frames: int) -> None:
    coverage = Coverage(judged=frames, total=70, unseen=60, truncated=frames > 1)
    views = [View("whole", 10 * frame, (0, 0, width, height)) for frame in range(frames)]
    views += [View("panel", 10 * (frames - 1), (0, 0, 1, height), 270)] * 2
    pixels = np.zeros((len(views), 8, 8, 3), np.uint8)
    picture = PreparedImage(width, height, kind, pixels, tuple(views), 5, coverage=coverage)
    found = parse_reply(pack_image(NUMBER, picture), NUMBER, LIMITS, PLAN)
    assert found == Found(width, height, kind, frames, frames + 2, 5, coverage)
    assert parse_views(pack_views(views), found, PLAN, LIMITS.max_pixels) == tuple(views)


WHOLE = (0, 0, 0, 0, 0, 3, 2)


@pytest.mark.parametrize(
    ("views", "pictures", "plan"),
    [
        pytest.param([WHOLE, (5, 0, 0, 0, 0, 1, 1)], 1, PLAN, id="another name"),
        pytest.param([WHOLE, (2, 4, 0, 0, 0, 1, 1)], 1, PLAN, id="another turn"),
        pytest.param([WHOLE, (0, 1, 0, 0, 0, 3, 2)], 1, ViewPlan(3), id="turned, which was not asked for"),
        pytest.param([WHOLE, (2, 0, 0, 0, 0, 0, 1)], 1, PLAN, id="empty"),
        pytest.param([WHOLE, (2, 0, 0, 0, 0, 2**32 - 1, 2**32 - 1)], 1, PLAN, id="larger than any picture"),
        pytest.param([WHOLE, (2, 0, 0, 2**32 - 1, 0, 1, 1)], 1, PLAN, id="outside any picture"),
        pytest.param([(2, 0, 0, 0, 0, 1, 1)], 1, PLAN, id="no whole"),
        pytest.param([(2, 0, 0, 0, 0, 1, 1), WHOLE], 1, PLAN, id="a whole that is not the first"),
        pytest.param([WHOLE, (2, 0, 1, 0, 0, 1, 1)], 1, PLAN, id="a part of another frame"),
        pytest.param([(0, 0, 1, 0, 0, 3, 2), WHOLE], 2, PLAN, id="frames in no order"),
        pytest.param([WHOLE, (0, 0, 4, 0, 0, 3, 2)], 2, PLAN, id="a frame after the last"),
        pytest.param([WHOLE, WHOLE], 1, PLAN, id="more pictures than it says"),
        pytest.param([WHOLE], 2, PLAN, id="fewer pictures than it says"),
        pytest.param(
            [WHOLE, *[(2, 0, 0, 0, 0, 1, 1)] * 3], 1, PLAN, id="more views of a picture than asked for"
        ),
    ],
)
def test_views_that_no_sound_process_sends_are_refused(
    views: list[tuple[int, ...]], pictures: int, plan: ViewPlan
) -> None:
    data = b"".join(struct.pack("<BBxxIIIII", *view) for view in views)
    found = Found(3, 2, "png", pictures, len(views), 0, Coverage(2, 4))
    with pytest.raises(ReplyInvalid):
        parse_views(data, found, plan, LIMITS.max_pixels)


@given(
    st.lists(st.tuples(*[st.integers(0, 5)] * 2, *[st.integers(0, 9)] * 5), min_size=1, max_size=9),
    st.integers(1, 4),
)
def test_whatever_views_are_sent_are_sound_or_refused(views: list[tuple[int, ...]], pictures: int) -> None:
    data = b"".join(struct.pack("<BBxxIIIII", *view) for view in views)
    try:
        found = Found(3, 2, "png", pictures, len(views), 0, Coverage(4, 4))
        parsed = parse_views(data, found, PLAN, LIMITS.max_pixels)
    except ReplyInvalid:
        return
    assert sum(view.is_whole for view in parsed) == pictures
    assert max(view.frame for view in parsed) < 4
    assert len(parsed) <= pictures * PLAN.most


@pytest.mark.parametrize("kind", [DecodeTimeout, ImageBroken, ImageTooLarge, NotAnImage])
def test_an_error_arrives_as_it_was(kind: type[ModeratorError]) -> None:
    found = parse_reply(pack_error(NUMBER, kind("the PNG is not whole")), NUMBER, LIMITS, PLAN)
    assert (type(found), str(found)) == (kind, "the PNG is not whole")


@given(st.text())
def test_the_unforeseen_is_named_and_made_printable(text: str) -> None:
    found = parse_reply(pack_error(NUMBER, ValueError(text)), NUMBER, LIMITS, PLAN)
    assert isinstance(found, Unexpected)
    assert str(found).startswith("ValueError: ")
    assert str(found).isascii()
    assert str(found).isprintable()


def test_an_error_without_words_has_its_name() -> None:
    assert str(parse_reply(pack_error(NUMBER, ImageBroken()), NUMBER, LIMITS, PLAN)) == "ImageBroken"


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(reply()[:-1], id="short"),
        pytest.param(reply() + b"\0", id="long"),
        pytest.param(reply(good=2), id="neither picture nor error"),
        pytest.param(reply(number=NUMBER - 1), id="the answer to the last request"),
        pytest.param(
            reply(good=0, number=0, error=b"ImageBroken", message=b"x"), id="an error of another request"
        ),
        pytest.param(reply(width=0), id="no width"),
        pytest.param(reply(width=101, height=100), id="more pixels than allowed"),
        pytest.param(reply(width=2**32 - 1, height=2**32 - 1), id="overflow"),
        pytest.param(reply(pictures=0, views=0), id="no pictures"),
        pytest.param(reply(pictures=13, views=13), id="more pictures than allowed"),
        pytest.param(reply(views=0), id="no views"),
        pytest.param(reply(views=4), id="more views than asked for"),
        pytest.param(reply(pictures=2, views=1), id="fewer views than pictures"),
        pytest.param(reply(judged=0), id="no frame judged"),
        pytest.param(reply(pictures=2, views=2, judged=2), id="more frames judged than the file has"),
        pytest.param(reply(total=3, unseen=5), id="more frames unseen than the file has"),
        pytest.param(reply(kind=b"svg"), id="another format"),
        pytest.param(reply(kind=b""), id="no format"),
        pytest.param(reply(kind=b"png\0x"), id="text after the end"),
        pytest.param(reply(kind=b"\xffng"), id="not ASCII"),
        pytest.param(reply(good=0, error=b"SystemExit", message=b"x"), id="another error"),
        pytest.param(reply(good=0, error=b"FetchFailed", message=b"x"), id="an error of another step"),
        pytest.param(reply(good=0, error=b"ImageBroken"), id="no message"),
        pytest.param(reply(good=0, error=b"ImageBroken", message=b"a\nb"), id="line break"),
        pytest.param(reply(good=0, error=b"ImageBroken", message=b"\x1b[2J"), id="terminal control"),
    ],
)
def test_what_no_sound_process_sends_is_refused(data: bytes) -> None:
    with pytest.raises(ReplyInvalid):
        parse_reply(data, NUMBER, LIMITS, PLAN)


@given(st.binary(max_size=REPLY_SIZE + 2) | st.binary(min_size=REPLY_SIZE, max_size=REPLY_SIZE))
def test_whatever_is_sent_is_within_bounds_or_refused(data: bytes) -> None:
    check(data)


@given(
    st.integers(0, 2),
    st.integers(0, 2**32 - 1) | st.integers(0, 200),
    st.integers(0, 2**32 - 1) | st.integers(0, 200),
    st.integers(0, 2**32 - 1) | st.integers(0, 14),
    st.integers(0, 2**32 - 1) | st.integers(0, 30),
    st.integers(0, 2**32 - 1) | st.integers(0, 14),
    st.binary(max_size=8) | st.sampled_from([b"png", b"jpeg"]),
    st.binary(max_size=32) | st.sampled_from([b"NotAnImage", b"DecodeTimeout"]),
    st.binary(max_size=512) | st.just(b"words"),
)
def test_whatever_fits_the_struct_is_within_bounds_or_refused(
    good: int,
    width: int,
    height: int,
    pictures: int,
    views: int,
    judged: int,
    kind: bytes,
    error: bytes,
    message: bytes,
) -> None:
    check(reply(good, NUMBER, width, height, pictures, views, 0, judged, 14, 0, kind, error, message))


def check(data: bytes) -> None:
    try:
        found = parse_reply(data, NUMBER, LIMITS, PLAN)
    except ReplyInvalid:
        return
    if isinstance(found, Found):
        assert 1 <= found.pictures <= LIMITS.max_renderings
        assert found.pictures <= found.views <= PLAN.most * found.pictures
        assert 1 <= found.coverage.judged <= found.coverage.total
        assert 1 <= found.width * found.height <= LIMITS.max_pixels
        assert found.format in {"jpeg", "png", "gif", "webp", "avif", "bmp", "tiff", "ico"}
    else:
        assert type(found) in (DecodeTimeout, ImageBroken, ImageTooLarge, NotAnImage, Unexpected)
        assert str(found).isascii()
        assert str(found).isprintable()
