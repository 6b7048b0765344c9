import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from moderator.errors import DecodeTimeout, ImageBroken, ImageTooLarge, ModeratorError, NotAnImage, Unexpected
from moderator.images.decode import DecodeLimits
from moderator.images.prepare import PICTURE_PIXELS, PreparedImage, PreprocessSpec
from moderator.images.protocol import (
    REPLY_SIZE,
    Found,
    MemoryLayout,
    ReplyInvalid,
    check_sizes,
    dump_spec,
    load_spec,
    pack_error,
    pack_image,
    parse_reply,
)
from moderator.images.resize import Resize

LIMITS = DecodeLimits(max_bytes=1000, max_pixels=10_000, max_frames=4, timeout=2.5)
SPEC = PreprocessSpec(LIMITS, Resize(9, 8, Image.Resampling.BILINEAR, squash=True), draft=True)


NUMBER = 7


def reply(
    good: int = 1,
    number: int = NUMBER,
    width: int = 3,
    height: int = 2,
    frames: int = 1,
    kind: bytes = b"png",
    error: bytes = b"",
    message: bytes = b"",
) -> bytes:
    return struct.pack("<BQIII8s32s512s", good, number, width, height, frames, kind, error, message)


@pytest.mark.parametrize("squash", [False, True])
@pytest.mark.parametrize("draft", [False, True])
def test_a_recipe_arrives_as_it_was(squash: bool, draft: bool) -> None:
    spec = PreprocessSpec(
        LIMITS, Resize(9, 8, Image.Resampling.LANCZOS, squash=squash, rounded=not squash), draft
    )
    assert load_spec(dump_spec(spec)) == spec


def test_there_is_room_for_the_largest_file_and_the_most_frames() -> None:
    sizes_at = 1000 + 4 * 8 * 8 * 3
    pictures_at = sizes_at + 4 * 2 * 4
    assert MemoryLayout.of(SPEC) == MemoryLayout(
        1000, sizes_at, pictures_at, pictures_at + 3 * PICTURE_PIXELS
    )


@pytest.mark.parametrize(
    "sizes",
    [[(0, 5)], [(5, 0)], [(PICTURE_PIXELS, 2)], [(2**32 - 1, 2**32 - 1)], [(1, 1)] * 3 + [(4000, 3000)]],
)
def test_pictures_of_impossible_sizes(sizes: list[tuple[int, int]]) -> None:
    with pytest.raises(ReplyInvalid, match="pictures"):
        check_sizes(np.array(sizes, dtype=np.uint32))


@given(st.integers(1, 100), st.integers(1, 100), st.sampled_from(["jpeg", "avif", "ico"]), st.integers(1, 4))
def test_a_picture_arrives_as_it_was(width: int, height: int, kind: str, frames: int) -> None:
    picture = PreparedImage(width, height, kind, np.zeros((frames, 8, 8, 3), np.uint8))
    assert parse_reply(pack_image(NUMBER, picture), NUMBER, LIMITS) == Found(width, height, kind, frames)


@pytest.mark.parametrize("kind", [DecodeTimeout, ImageBroken, ImageTooLarge, NotAnImage])
def test_an_error_arrives_as_it_was(kind: type[ModeratorError]) -> None:
    found = parse_reply(pack_error(NUMBER, kind("the PNG is not whole")), NUMBER, LIMITS)
    assert (type(found), str(found)) == (kind, "the PNG is not whole")


@given(st.text())
def test_the_unforeseen_is_named_and_made_printable(text: str) -> None:
    found = parse_reply(pack_error(NUMBER, ValueError(text)), NUMBER, LIMITS)
    assert isinstance(found, Unexpected)
    assert str(found).startswith("ValueError: ")
    assert str(found).isascii()
    assert str(found).isprintable()


def test_an_error_without_words_has_its_name() -> None:
    assert str(parse_reply(pack_error(NUMBER, ImageBroken()), NUMBER, LIMITS)) == "ImageBroken"


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
        pytest.param(reply(frames=0), id="no frames"),
        pytest.param(reply(frames=5), id="more frames than allowed"),
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
        parse_reply(data, NUMBER, LIMITS)


@given(st.binary(max_size=REPLY_SIZE + 2) | st.binary(min_size=REPLY_SIZE, max_size=REPLY_SIZE))
def test_whatever_is_sent_is_within_bounds_or_refused(data: bytes) -> None:
    check(data)


@given(
    st.integers(0, 2),
    st.integers(0, 2**32 - 1) | st.integers(0, 200),
    st.integers(0, 2**32 - 1) | st.integers(0, 200),
    st.integers(0, 2**32 - 1) | st.integers(0, 6),
    st.binary(max_size=8) | st.sampled_from([b"png", b"jpeg"]),
    st.binary(max_size=32) | st.sampled_from([b"NotAnImage", b"DecodeTimeout"]),
    st.binary(max_size=512) | st.just(b"words"),
)
def test_whatever_fits_the_struct_is_within_bounds_or_refused(
    good: int, width: int, height: int, frames: int, kind: bytes, error: bytes, message: bytes
) -> None:
    check(reply(good, NUMBER, width, height, frames, kind, error, message))


def check(data: bytes) -> None:
    try:
        found = parse_reply(data, NUMBER, LIMITS)
    except ReplyInvalid:
        return
    if isinstance(found, Found):
        assert 1 <= found.frames <= LIMITS.max_frames
        assert 1 <= found.width * found.height <= LIMITS.max_pixels
        assert found.format in {"jpeg", "png", "gif", "webp", "avif", "bmp", "tiff", "ico"}
    else:
        assert type(found) in (DecodeTimeout, ImageBroken, ImageTooLarge, NotAnImage, Unexpected)
        assert str(found).isascii()
        assert str(found).isprintable()
