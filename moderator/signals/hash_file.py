"""Read and write PDQ hash files: the lists that policies read, and files of other systems."""

import csv
import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from moderator.atomic import write_atomically
from moderator.errors import SignalFailed
from moderator.printable import printable

HASH_BITS = 256
Hashes = NDArray[np.uint8]
"""[n, 32]"""
_HASH = re.compile(r"[0-9a-fA-F]{64}")
_ALONE = re.compile(r"(?<![0-9a-fA-F])[0-9a-fA-F]{64}(?![0-9a-fA-F])")


def parse_hashes(content: bytes) -> tuple[Hashes, list[int]]:
    """Parse a list: one hash of 64 hexadecimal digits per line; `#` starts a comment.

    Returns the hashes, uint8 [n, 32], and the line number of each.

    Raises:
        SignalFailed: a line is something else, or there is no hash at all.
    """
    hashes, lines = [], []
    for number, line in enumerate(content.decode("utf-8", "replace").splitlines(), 1):
        text = line.partition("#")[0].strip()
        if not text:
            continue
        if not _HASH.fullmatch(text):
            raise SignalFailed(
                f"line {number} of the hash list is no PDQ hash of 64 hexadecimal digits; correct or remove it, or "
                "convert a file of another format: moderator signals import"
            )
        hashes.append(bytes.fromhex(text))
        lines.append(number)
    if not hashes:
        raise SignalFailed("the hash list holds no hash; add one or remove the signal")
    return np.frombuffer(b"".join(hashes), dtype=np.uint8).reshape(-1, HASH_BITS // 8), lines


def find_hashes(content: bytes, column: str | None = None) -> list[str]:
    """Return the hashes in a file of another system: CSV, JSON Lines, or text with one hash per line; skip other lines.

    Args:
        content: of the file, in UTF-8.
        column: of a CSV file with a header; default: search each line.

    Returns distinct hashes in lower case, in order.

    Raises:
        SignalFailed: there is no such column, a line has several values that look like a hash, or there is none.
    """
    lines = content.decode("utf-8-sig", "replace").splitlines()
    found: dict[str, None] = {}
    if column is not None:
        rows = csv.DictReader(lines)
        if column not in (rows.fieldnames or ()):
            raise SignalFailed(
                f"there is no column '{column[:40]}'; there are: {', '.join(rows.fieldnames or ())}"
            )
        values = [(row[column] or "").strip() for row in rows]
        found = {value.lower(): None for value in values if _HASH.fullmatch(value)}
    else:
        for number, line in enumerate(lines, 1):
            values = list(dict.fromkeys(_ALONE.findall(line.lower())))
            if len(values) > 1:
                raise SignalFailed(
                    f"line {number} has {len(values)} values that may be the hash; name the column: --column NAME"
                )
            found |= dict.fromkeys(values)
    if not found:
        raise SignalFailed("there is no value of 64 hexadecimal digits, which a PDQ hash has; check the file")
    return list(found)


def look_like_pdq(hashes: list[str]) -> bool:
    """Return whether half of the bits are set: PDQ compares with the median. SHA-256 deviates by 6 bits."""
    counts = np.array([int(one, 16).bit_count() for one in hashes])
    return bool(np.abs(counts - HASH_BITS // 2).mean() < 4)


def add_hashes(path: Path, hashes: dict[str, str]) -> int:
    """Append hashes to a list atomically, each with a comment, and skip known ones.

    Returns how many were new.

    Raises:
        SignalFailed: the file exists and is not a list.
    """
    before = path.read_bytes() if path.exists() else b""
    known = {bytes(row).hex() for row in parse_hashes(before)[0]} if before.strip() else set()
    new = {one: comment for one, comment in hashes.items() if one not in known}
    text = before.decode("utf-8", "replace")
    text += "" if text.endswith("\n") or not text else "\n"
    for one, comment in new.items():
        text += f"{one}  # {printable(comment)[:200]}".rstrip(" #") + "\n"
    write_atomically(path, text.encode())
    return len(new)
