import shutil
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from moderator.embeddings import lettering
from moderator.embeddings.lettering import Lettering, has
from moderator.embeddings.pictures import contact_sheet, heat_map


def make_font(characters: str) -> bytes:
    """A TrueType font whose only characters are triangles; all others are an empty square, as in other fonts."""
    square = [(100, 0), (100, 800), (900, 800), (900, 0)]
    triangle = [(50, 0), (500, 900), (950, 0)]
    glyf, loca = b"", [0]
    for points in (square, triangle):
        xs, ys = zip(*points, strict=True)
        glyph = struct.pack(">hhhhh", 1, min(xs), min(ys), max(xs), max(ys))
        glyph += struct.pack(">HH", len(points) - 1, 0) + b"\x01" * len(points)
        for axis in (xs, ys):
            steps = (b - a for a, b in zip((0, *axis), axis, strict=False))
            glyph += b"".join(struct.pack(">h", step) for step in steps)
        glyf += glyph + b"\0" * (-len(glyph) % 4)
        loca.append(len(glyf))
    codes = sorted(map(ord, set(characters)))
    groups = b"".join(struct.pack(">III", code, code, 1) for code in codes)
    cmap = struct.pack(">HHHHI", 0, 1, 3, 10, 12)
    cmap += struct.pack(">HHIII", 12, 0, 16 + len(groups), 0, len(codes)) + groups
    tables = {
        b"cmap": cmap,
        b"glyf": glyf,
        b"head": struct.pack(
            ">IIIIHHQQhhhhHHhhh", 0x10000, 0, 0, 0x5F0F3CF5, 0, 1000, 0, 0, 0, 0, 1000, 1000, 0, 8, 2, 1, 0
        ),
        b"hhea": struct.pack(
            ">IhhhHhhhhhhhhhhhH", 0x10000, 900, -100, 0, 1000, 0, 0, 1000, 1, 0, 0, 0, 0, 0, 0, 0, 2
        ),
        b"hmtx": struct.pack(">HhHh", 1000, 0, 1000, 0),
        b"loca": struct.pack(">III", *loca),
        b"maxp": struct.pack(">IHHHHHHHHHHHHHH", 0x10000, 2, 4, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0),
    }
    header = struct.pack(">IHHHH", 0x10000, len(tables), 64, 2, len(tables) * 16 - 64)
    at, body = 12 + 16 * len(tables), b""
    for tag, table in sorted(tables.items()):
        header += tag + struct.pack(">III", 0, at + len(body), len(table))
        body += table + b"\0" * (-len(table) % 4)
    return header + body


@pytest.fixture
def fonts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with no fonts but those that a test puts into the folder."""
    folder = tmp_path / "fonts"
    (folder / "deep").mkdir(parents=True)
    monkeypatch.setattr(lettering, "font_folders", lambda: [tmp_path / "none", folder])
    return folder


def drawn(letters: Lettering, text: str) -> np.ndarray:
    picture = Image.new("L", (200, 24), 255)
    letters.draw(ImageDraw.Draw(picture), (0, 0), text, 0)
    return np.asarray(picture)


def test_a_font_of_the_machine_has_what_the_default_lacks(fonts: Path) -> None:
    (fonts / "broken.ttf").write_bytes(b"no font")
    (fonts / "deep" / "some.ttf").write_bytes(make_font("котик"))
    (fonts / "other.ttf").write_bytes(make_font("猫"))
    letters = Lettering(["a кот", "猫 котик"])
    assert letters.missing == ""
    box = ImageFont.load_default(lettering.FONT_SIZE_PIXELS)
    for character in "кот猫":
        assert not has(box, character), "or the test shows nothing"
        one = drawn(letters, character)
        assert not (one == drawn(letters, "?")).all()
    plain = Lettering(["a"])
    assert (drawn(letters, "a") == drawn(plain, "a")).all()
    assert letters.length("кот") == 3 * lettering.FONT_SIZE_PIXELS


def test_what_no_font_has_is_named_and_is_no_box(fonts: Path) -> None:
    (fonts / "some.ttf").write_bytes(make_font("кот"))
    letters = Lettering(["кот 猫と", "b\x1b"])
    assert letters.missing == "と猫"
    assert (drawn(letters, "猫") == drawn(letters, "?")).all()
    assert (drawn(letters, "\x1b\udce9") == drawn(letters, "??")).all(), "nor is what is no text"


def test_english_needs_no_font_of_the_machine(fonts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lettering, "font_files", lambda: pytest.fail("looks through the machine's fonts"))
    assert Lettering(["a cat.jpg", "100 %\n"]).missing == ""


def test_the_plainest_of_equals(fonts: Path) -> None:
    for name in ("A-Bold.ttf", "Z-Regular.ttf"):
        (fonts / name).write_bytes(make_font("кот"))
    assert lettering.font_files()[0].name == "Z-Regular.ttf"


@pytest.mark.parametrize("script", ["кот на столе", "猫と珈琲"])
def test_pictures_show_other_scripts(fonts: Path, script: str) -> None:
    (fonts / "some.ttf").write_bytes(make_font(script.replace(" ", "")))
    photo = Image.new("RGB", (50, 50), "red")
    with_font = Lettering([script])
    values = np.zeros((1, 1), dtype=np.float32)
    heat, sheet = (
        heat_map([photo], [script], [script], values, with_font),
        contact_sheet([photo], [script], with_font),
    )
    shutil.rmtree(fonts)
    without = Lettering([script])
    assert set(without.missing) == set(script) - {" "}
    assert heat.tobytes() != heat_map([photo], [script], [script], values, without).tobytes()
    assert sheet.tobytes() != contact_sheet([photo], [script], without).tobytes()
