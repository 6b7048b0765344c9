import io
import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from moderator.images.formats import sniff
from tests.fuzz.mutate import mutated, split
from tests.fuzz.seeds import load_seeds, make_seeds

SEEDS = load_seeds()
STARTS = [
    b"\x89PNG\r\n\x1a\n",
    b"\xff\xd8\xff",
    b"RIFF\0\0\0\0WEBP",
    b"\0\0\0\x20ftypavif",
    b"GIF89a",
    b"II*\0",
    b"\0\0\1\0",
]


def test_seeds_are_small_and_of_every_format() -> None:
    assert Counter(sniff(data) for data in SEEDS.values()).keys() == {
        *("JPEG", "PNG", "GIF", "WEBP", "AVIF", "BMP", "TIFF", "ICO")
    }
    assert max(map(len, SEEDS.values())) < 8000


def test_the_seeds_can_be_made_again() -> None:
    made = dict(make_seeds())
    assert made.keys() == SEEDS.keys()
    for name, data in made.items():
        assert Image.open(io.BytesIO(data)).size == Image.open(io.BytesIO(SEEDS[name])).size


@pytest.mark.parametrize("name", SEEDS)
def test_parts_are_the_file_again(name: str) -> None:
    parts = split(SEEDS[name])
    assert b"".join(parts) == SEEDS[name]
    assert len(parts) > 1 or name.endswith(".bmp")


@given(st.sampled_from(STARTS), st.binary(max_size=300))
def test_parts_of_anything_are_the_file_again(start: bytes, rest: bytes) -> None:
    assert b"".join(split(start + rest)) == start + rest


@settings(max_examples=30)
@given(st.integers())
def test_the_same_chance_makes_the_same_file(seed: int) -> None:
    assert mutated(SEEDS, random.Random(seed)) == mutated(SEEDS, random.Random(seed))


def test_mutations_differ_and_stay_small() -> None:
    files = [mutated(SEEDS, random.Random(n)) for n in range(2000)]
    assert len(set(files)) > 1900
    assert max(map(len, files)) < 60_000
    assert sum(file in SEEDS.values() for file in files) < 150
