"""Everyday things in words, embedded once per encoder: what prompts are compared with, and hard negatives come from."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import numpy as np

from moderator.engine.judge import PolicyCompiler
from moderator.policies.category_schema import Category, Rule
from moderator.policies.fields import MAX_PROMPTS, SLOT
from moderator.policies.schema import Policy
from moderator.scoring.rules import Floats


@dataclass(frozen=True, eq=False)
class Vocabulary:
    """n texts with their embeddings."""

    texts: tuple[str, ...]
    kinds: tuple[frozenset[str], ...]
    """[n] the kinds of thing that each is, such as `a weapon`; empty if it is not known."""
    matrix: Floats
    """float32 [n, dimension], rows of length 1."""


@cache
def everyday_texts() -> tuple[str, ...]:
    """Return the texts of `everyday_prompts.txt`."""
    text = (files("moderator") / "data" / "everyday_prompts.txt").read_text("utf-8")
    return tuple(line for line in text.splitlines() if line and not line.startswith("#"))


@cache
def _class_texts() -> dict[str, frozenset[str]]:
    """Return a text for each class of ImageNet, with the kinds of thing that it is. The embedded encoder ships them."""
    folder = files("moderator.encoders.embedded")
    classes: list[list[str]] = json.loads((folder / "imagenet_texts.json").read_text("utf-8"))
    return {texts[0]: frozenset(texts[-1].split(", ")) for texts in classes}


def everyday_vocabulary(compiler: PolicyCompiler, templates: tuple[str, ...] = (SLOT,)) -> Vocabulary:
    """Return the everyday texts, about 200, in these templates. Embedded once per encoder."""
    return _embedded(compiler, {text: frozenset() for text in everyday_texts()}, templates)


def full_vocabulary(compiler: PolicyCompiler, templates: tuple[str, ...] = (SLOT,)) -> Vocabulary:
    """Return the everyday texts and the 1,000 classes of ImageNet, in these templates. Embedded once per encoder."""
    everyday = {text: frozenset[str]() for text in everyday_texts()}
    return _embedded(compiler, {**everyday, **_class_texts()}, templates)


def embed_vocabulary(
    compiler: PolicyCompiler, texts: Sequence[str], templates: tuple[str, ...]
) -> Vocabulary:
    """Return at most `MAX_PROMPTS` texts of unknown kind, in these templates. Embedded once per encoder."""
    return _embedded(compiler, dict.fromkeys(texts, frozenset[str]()), templates)


def _embedded(
    compiler: PolicyCompiler, kinds: dict[str, frozenset[str]], templates: tuple[str, ...]
) -> Vocabulary:
    # As a policy: so it is embedded, and kept on disk, in the one way there is.
    texts = tuple(kinds)[:MAX_PROMPTS]
    category = Category(unsafe=texts, rule=Rule.SIGMOID)
    policy = Policy(name="vocabulary", version=1, templates=templates, categories={"all": category})
    compiled = compiler.compile(policy)
    return Vocabulary(
        compiled.layout.prompts, tuple(kinds[t] for t in compiled.layout.prompts), compiled.matrix
    )


def typical_cosine(matrix: Floats) -> float:
    """Return the mean cosine of two different rows: how alike an encoder finds texts that have nothing in common.

    It is near 0.2 for MiniLM and near 0.7 for CLIP, so only what exceeds it says that two texts are alike.

    Args:
        matrix: float32 [n, dimension], rows of length 1, n > 1.
    """
    count = len(matrix)
    total = float(np.square(matrix.sum(axis=0, dtype=np.float64)).sum())
    return (total - count) / (count * (count - 1))


def likeness(cosines: Floats, typical: float) -> Floats:
    """Return how alike texts are: 0 for a typical pair, 1 for the same text; see `typical_cosine`."""
    result: Floats = (cosines - np.float32(typical)) / np.float32(1 - typical)
    return result
