"""Mutations of image files. All chance comes from the generator that is handed in, so a file can be made again."""

import random
import re
import struct
import zlib
from collections.abc import Callable, Mapping, Sequence
from functools import partial

Mutation = Callable[[bytearray, random.Random], None]

#: Numbers at which sizes and counts overflow, wrap or turn negative.
_EDGES = (
    0,
    1,
    2,
    0x7F,
    0x80,
    0xFF,
    0x100,
    0x7FFF,
    0x8000,
    0xFFFF,
    0x10000,
    0x7FFFFFFF,
    0x80000000,
    0xFFFFFFFF,
    1 << 63,
)
#: Where headers and directories stand.
_HEADER = 96
_LONGEST = 40_000
#: Width and height, or the other way round, stand so many bytes behind these marks: start of a frame and PNG header,
#: AVIF's `ispe`, a VP8 key frame, GIF's screen, the header of a BMP, tags 256 and 257 of a TIFF (as SHORT, as LONG).
_SIZES = (
    (b"\xff\xc0", 3, ">HH"),
    (b"\xff\xc2", 3, ">HH"),
    (b"IHDR", 0, ">II"),
    (b"ispe", 4, ">II"),
    (b"\x9d\x01\x2a", 0, "<HH"),
    (b"GIF8", 2, "<HH"),
    (b"\x28\0\0\0", 0, "<ii"),
    (b"\0\1\3\0\1\0\0\0", 0, "<H10xH"),
    (b"\0\1\4\0\1\0\0\0", 0, "<I8xI"),
)
_PNG = b"\x89PNG\r\n\x1a\n"


def mutated(seeds: Mapping[str, bytes], dice: random.Random) -> bytes:
    """A seed after one to four mutations; now and then two seeds sewn together first."""
    names = sorted(seeds)
    name = dice.choice(names)
    data = bytearray(seeds[name])
    if dice.random() < 0.08:
        kin = [other for other in names if other.rpartition(".")[2] == name.rpartition(".")[2]]
        data = _sewn(data, seeds[dice.choice(kin if dice.random() < 0.8 else names)], dice)
    for _ in range(dice.choice((1, 1, 1, 2, 2, 3, 4))):
        dice.choice(_MUTATIONS)(data, dice)
    del data[_LONGEST:]
    return _repaired(bytes(data)) if dice.random() < 0.7 else bytes(data)


def _sewn(data: bytearray, other: bytes, dice: random.Random) -> bytearray:
    at = dice.randrange(len(data) + 1)
    start = min(at, len(other)) if dice.random() < 0.5 else dice.randrange(len(other) + 1)
    return data[:at] + other[start:]


def _flip_bits(data: bytearray, dice: random.Random) -> None:
    for _ in range(dice.choice((1, 1, 2, 4, 16))):
        if data:
            data[dice.randrange(len(data))] ^= 1 << dice.randrange(8)


def _change_bytes(data: bytearray, dice: random.Random) -> None:
    for _ in range(dice.choice((1, 2, 8))):
        if data:
            data[dice.randrange(len(data))] = dice.choice((0, 255, dice.randrange(256)))


def _change_header(data: bytearray, dice: random.Random) -> None:
    if data:
        data[dice.randrange(min(len(data), _HEADER))] = dice.choice(
            (0, 1, 127, 128, 255, dice.randrange(256))
        )


def _set_field(data: bytearray, dice: random.Random) -> None:
    """A number of 2, 4 or 8 bytes, mostly in the header, becomes one at the edge or a little more or less."""
    code = dice.choice("<>") + dice.choice("HIIQ")
    size = struct.calcsize(code)
    end = len(data) - size + 1
    if end <= 0:
        return
    at = dice.randrange(min(end, _HEADER) if dice.random() < 0.7 else end)
    limit = 1 << 8 * size
    (old,) = struct.unpack_from(code, data, at)
    new = (
        dice.choice(_EDGES) if dice.random() < 0.6 else old + dice.choice((-1, 1, -2, 2, 16, old, len(data)))
    )
    struct.pack_into(code, data, at, new % limit)


def _resize(data: bytearray, dice: random.Random) -> None:
    """Announce another size in pixels, where the format has it: what decoders make room for."""
    for mark, skip, code in _SIZES:
        for match in re.finditer(re.escape(mark), data):
            at = match.end() + skip
            if at + struct.calcsize(code) <= len(data) and dice.random() < 0.8:
                struct.pack_into(code, data, at, *dice.choices((0, 1, 17, 300, 1000, 2000, 5000, 32767), k=2))


def _cut(data: bytearray, dice: random.Random) -> None:
    del data[dice.randrange(len(data) + 1) :]


def _cut_little(data: bytearray, dice: random.Random) -> None:
    del data[max(0, len(data) - dice.randrange(1, 24)) :]


def _range(data: bytearray, dice: random.Random) -> slice:
    start = dice.randrange(len(data) + 1)
    return slice(start, start + dice.choice((1, 2, 4, 8, 12, 16, 64, 256)))


def _remove(data: bytearray, dice: random.Random) -> None:
    del data[_range(data, dice)]


def _repeat(data: bytearray, dice: random.Random) -> None:
    part = _range(data, dice)
    data[part.stop : part.stop] = data[part] * dice.choice((1, 1, 2, 50))


def _move(data: bytearray, dice: random.Random) -> None:
    part = _range(data, dice)
    moved = data[part]
    del data[part]
    at = dice.randrange(len(data) + 1)
    data[at:at] = moved


def _insert(data: bytearray, dice: random.Random) -> None:
    at = dice.randrange(len(data) + 1)
    size = dice.choice((1, 2, 4, 32, 300))
    data[at:at] = bytes(size) if dice.random() < 0.3 else dice.randbytes(size)


def _overwrite(data: bytearray, dice: random.Random) -> None:
    part = _range(data, dice)
    data[part] = bytes([dice.choice((0, 255))]) * len(data[part])


def _operate_on_chunks(data: bytearray, dice: random.Random) -> None:
    """Take the file apart along its own structure; drop, repeat, exchange, cut or change a part."""
    chunks = split(bytes(data))
    if len(chunks) < 3:
        return
    first = dice.randrange(len(chunks))
    second = dice.randrange(len(chunks))
    kind = dice.randrange(5)
    if kind == 0:
        del chunks[first]
    elif kind == 1:
        chunks[second:second] = [chunks[first]] * dice.choice((1, 1, 3, 200))
    elif kind == 2:
        chunks[first], chunks[second] = chunks[second], chunks[first]
    else:
        part = bytearray(chunks[first])
        (_cut if kind == 3 else _change_bytes)(part, dice)
        chunks[first] = bytes(part)
    data[:] = b"".join(chunks)


def _change_compressed(data: bytearray, dice: random.Random) -> None:
    """Change the pixels of a PNG under their compression, where a change of the file would break that alone."""
    chunks = split(bytes(data))
    if not data.startswith(_PNG):
        return
    for index, chunk in enumerate(chunks):
        if chunk[4:8] in (b"IDAT", b"iCCP", b"zTXt", b"fdAT"):
            start = {b"IDAT": 8, b"fdAT": 12}.get(chunk[4:8], chunk.find(b"\0", 8) + 2)
            unpacker = zlib.decompressobj()
            try:
                plain = bytearray(unpacker.decompress(chunk[start:-4], 1 << 20))
            except zlib.error:
                continue
            dice.choice((_flip_bits, _change_bytes, _cut, _insert, _repeat))(plain, dice)
            body = chunk[8:start] + zlib.compress(bytes(plain))
            chunks[index] = struct.pack(">I", len(body)) + chunk[4:8] + body + chunk[-4:]
            break
    data[:] = b"".join(chunks)


_MUTATIONS: Sequence[Mutation] = (
    *(_flip_bits, _flip_bits, _change_bytes, _change_header, _set_field, _set_field, _set_field),
    *(_resize, _cut, _cut_little, _remove, _repeat, _move, _insert, _overwrite),
    *(_operate_on_chunks, _operate_on_chunks, _operate_on_chunks, _change_compressed),
)


def split(data: bytes) -> list[bytes]:
    """The parts that a file is made of, by its format; joined they are the file again. Other files are one part."""
    if data.startswith(_PNG):
        return _split(data, 8, lambda at: 12 + int.from_bytes(data[at : at + 4], "big"))
    if data.startswith(b"\xff\xd8"):
        return _split(data, 2, lambda at: 2 + int.from_bytes(data[at + 2 : at + 4], "big"))
    if data.startswith(b"RIFF"):
        return _split(data, 12, lambda at: 8 + (int.from_bytes(data[at + 4 : at + 8], "little") + 1 & ~1))
    if data[4:8] == b"ftyp":
        # The boxes inside `meta` (a box with 4 bytes of its own) are what is worth exchanging.
        parts: list[bytes] = []
        for box in _split(data, 0, partial(_box_length, data)):
            inner = 12 if box[4:8] == b"meta" else 8 if box[4:8] in (b"moov", b"trak") else len(box)
            parts += _split(box, inner, partial(_box_length, box))
        return parts
    if data.startswith(b"GIF8"):
        return _split(data, 13, lambda at: 1 + data[at] if data[at] else 1)
    if data[:2] in (b"II", b"MM"):
        return _split(data, 10, lambda at: 12)  # directory entries, if it stands in front
    if data.startswith(b"\0\0\1\0"):
        return _split(data, 6, lambda at: 16 if at < 6 + 16 * data[4] else len(data))
    return [data]


def _box_length(data: bytes, at: int) -> int:
    return max(8, int.from_bytes(data[at : at + 4], "big"))


def _split(data: bytes, start: int, length: Callable[[int], int]) -> list[bytes]:
    parts = [data[:start]]
    at = start
    while at < len(data) and len(parts) < 2000:
        end = at + length(at)
        parts.append(data[at:end])
        at = end
    parts.append(data[at:])
    return [part for part in parts if part]


def _repaired(data: bytes) -> bytes:
    """Checksums and outer lengths made right again, so that decoders read on."""
    if data.startswith(_PNG):
        chunks = split(data)
        return chunks[0] + b"".join(
            chunk[:-4] + struct.pack(">I", zlib.crc32(chunk[4:-4])) if len(chunk) >= 12 else chunk
            for chunk in chunks[1:]
        )
    if data.startswith(b"RIFF") and len(data) >= 12:
        return data[:4] + struct.pack("<I", len(data) - 8) + data[8:]
    return data
