from pathlib import Path

import numpy as np
import pytest

from moderator import Settings
from moderator.cli.demo import PHOTOGRAPHS
from moderator.errors import LabelsInvalid
from moderator.policies.loader import parse_policy
from moderator.policies.schema import Policy
from moderator.scoring.batch_decisions import decide_block
from moderator.scoring.thresholds import CompiledPolicy
from moderator.tuning.labelled_images import LabelledImages, load_labelled, open_engine
from moderator.tuning.model_swap import compare_encoders, scales_of, swap_text
from tests.support.colour_encoder import ColourEncoder

TEXT = """\
# Why: a test.
name: colours
version: 4
safe: [green, blue, white]
categories:
  red: {unsafe: [red], midpoint: 0.2, review: 0.4, block: 0.6}
"""

Judged = tuple[CompiledPolicy, LabelledImages]


@pytest.fixture
def base() -> Policy:
    return parse_policy(TEXT)


@pytest.fixture
def judged(settings: Settings, small_clip: Path, base: Policy, tmp_path: Path) -> tuple[Judged, Judged]:
    """The demo's photographs on two encoders, the second with random weights."""
    files = sorted(PHOTOGRAPHS.glob("*.jpg"))
    (tmp_path / "labels.csv").write_text("\n".join(["path,label", *(f"{file}," for file in files)]))
    found = []
    for encoder, other in ((ColourEncoder(), None), (None, f"clip:{small_clip}")):
        chosen = settings if other is None else settings.model_copy(update={"encoder": other})
        with open_engine(chosen, encoder) as engine:
            images = load_labelled(tmp_path / "labels.csv", engine, [base])
            found.append((engine.compiler.compile(base), images))
    return found[0], found[1]


def test_rates_stay_and_decisions_are_counted(judged: tuple[Judged, Judged], base: Policy) -> None:
    (old, old_images), (new, new_images) = judged
    swap = compare_encoders(old, old_images.block, new, new_images.block)
    red = swap.categories["red"]
    before = decide_block(old, old_images.block)
    assert red.old == tuple((before.levels[:, 0] == level).sum() for level in range(3))
    assert red.old == red.new
    assert swap.decisions.sum() == len(old_images)
    assert len(swap.changed) == swap.decisions.sum() - np.trace(swap.decisions)
    assert swap.same_share == red.same / len(old_images)

    text = swap_text(TEXT, swap, new_images.identity, [])
    assert text.startswith("# Why: a test.\n")
    draft = parse_policy(text)
    assert draft.categories == base.categories
    effective = draft.categories_on(new_images.identity)
    assert effective is not None
    assert effective["red"].midpoint == 0.5
    assert draft.categories_on(old_images.identity) is None


def test_thresholds_of_the_draft_decide_as_compared(
    judged: tuple[Judged, Judged], settings: Settings, small_clip: Path
) -> None:
    (old, old_images), (new, new_images) = judged
    swap = compare_encoders(old, old_images.block, new, new_images.block)
    draft = parse_policy(swap_text(TEXT, swap, new_images.identity, []))
    with open_engine(settings.model_copy(update={"encoder": f"clip:{small_clip}"})) as engine:
        levels = decide_block(engine.compiler.compile(draft), new_images.block).levels[:, 0]
    assert tuple((levels == level).sum() for level in range(3)) == swap.categories["red"].new


def test_the_old_encoder_keeps_its_thresholds(judged: tuple[Judged, Judged], base: Policy) -> None:
    (old, old_images), (new, new_images) = judged
    swap = compare_encoders(old, old_images.block, new, new_images.block)
    kept = [scales_of(old.categories, old_images.identity)]
    draft = parse_policy(swap_text(TEXT, swap, new_images.identity, kept))
    assert draft.categories_on(old_images.identity) == base.categories


def test_other_images_are_refused(judged: tuple[Judged, Judged]) -> None:
    (old, old_images), (new, new_images) = judged
    with pytest.raises(LabelsInvalid, match="the same images"):
        compare_encoders(old, old_images.block, new, new_images.subset([0, 1]).block)
