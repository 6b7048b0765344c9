"""Images that are made to harm whoever decodes or carries them."""

import struct
import zlib
from io import BytesIO

from PIL import Image


def large_jpeg() -> bytes:
    """Noise, which takes megabytes."""
    file = BytesIO()
    Image.effect_noise((2000, 2000), 90).convert("RGB").save(file, "JPEG", quality=95)
    return file.getvalue()


def slow_png(width: int = 8000, height: int = 9990) -> bytes:
    """16 bits for each of four channels: 640 MB in one frame, seconds of C that nothing interrupts."""
    rows, packer = b"\0" + bytes(8 * width), zlib.compressobj(1)
    body = b"".join(packer.compress(rows) for _ in range(height)) + packer.flush()
    header = _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, 6, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + _chunk(b"IDAT", body) + _chunk(b"IEND", b"")


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
