from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from moderator import Moderator, Settings
from moderator.encoders.encoder import Embeddings, Pixels
from moderator.engine.engine import Engine
from moderator.errors import LabelsInvalid, SignalFailed
from moderator.policies.schema import Policy
from moderator.scoring.batch_decisions import decide_block
from moderator.signals.signal import Frame, SignalResult
from moderator.tuning.file_thumbnails import file_thumbnails
from moderator.tuning.labelled_cache import CACHE_FILE
from moderator.tuning.labelled_images import load_labelled
from moderator.tuning.variants import VARIANTS
from tests.support.colour_encoder import ColourEncoder
from tests.support.fake_signals import Slow, installed


def test_images_are_judged_as_check_judges_them(
    engine: Engine, policy: Policy, labels: Path, settings: Settings
) -> None:
    images = load_labelled(labels, engine, [policy])
    decided = decide_block(engine.compiler.compile(policy), images.block)
    verdicts = Moderator(settings, encoder=ColourEncoder()).check(images.paths, policy.reference)
    expected = [verdict.categories["red"].score for verdict in verdicts]
    assert len(images.block.embeddings) > len(images)  # the pasted one has several views
    np.testing.assert_allclose(decided.scores[:, 0], expected, atol=1e-6)


def test_truth_columns_and_failures_follow_the_file(engine: Engine, policy: Policy, labels: Path) -> None:
    images = load_labelled(labels, engine, [policy])
    assert [path.name for path in images.paths] == ["0.png", "1.png", "2.png", "3.png", "4.png", "pasted.png"]
    assert images.truth("red").tolist() == [True, False, False, True, False, True]
    assert images.columns == {"odd": ("0", "1", "0", "1", "0", "0")}
    assert [path.name for path, _ in images.failed] == ["broken.png", "no.png"]
    assert images.failed[1][1].startswith("ImageNotFound")


def test_a_second_load_embeds_nothing(
    engine: Engine, encoder: ColourEncoder, policy: Policy, labels: Path
) -> None:
    first = load_labelled(labels, engine, [policy])
    batches = len(encoder.batches)
    seen: list[tuple[int, int]] = []
    second = load_labelled(labels, engine, [policy], progress=lambda done, total: seen.append((done, total)))
    assert len(encoder.batches) == batches
    assert seen[0][0] == 7  # all but the broken one
    assert seen[-1] == (8, 8)
    np.testing.assert_array_equal(first.block.embeddings, second.block.embeddings)
    assert first.block.views == second.block.views


def test_variants_are_kept_beside_the_views(
    engine: Engine, encoder: ColourEncoder, policy: Policy, labels: Path
) -> None:
    plain = load_labelled(labels, engine, [policy])
    first = load_labelled(labels, engine, [policy], variants=True)
    batches = len(encoder.batches)
    second = load_labelled(labels, engine, [policy], variants=True)
    assert len(encoder.batches) == batches
    assert first.variants is not None
    assert second.variants is not None
    np.testing.assert_array_equal(first.variants, second.variants)
    np.testing.assert_allclose(first.block.embeddings, plain.block.embeddings, atol=1e-6)
    # The first image has one colour, so that its parts are what it is.
    whole = first.block.embeddings[first.block.starts[0]]
    np.testing.assert_allclose(first.variants[0], np.tile(whole, (VARIANTS, 1)), atol=1e-3)
    kept = first.subset([4, 0]).variants
    assert kept is not None
    np.testing.assert_array_equal(kept, first.variants[[4, 0]])


def test_a_broken_cache_is_no_obstacle(
    engine: Engine, policy: Policy, labels: Path, settings: Settings
) -> None:
    settings.cache.mkdir(parents=True, exist_ok=True)
    (settings.cache / CACHE_FILE).write_bytes(b"no database" * 100)
    assert len(load_labelled(labels, engine, [policy])) == 6


def test_a_subset_has_the_rows_of_its_images(engine: Engine, policy: Policy, labels: Path) -> None:
    images = load_labelled(labels, engine, [policy])
    part = images.subset([5, 0])
    decided = decide_block(engine.compiler.compile(policy), images.block)
    again = decide_block(engine.compiler.compile(policy), part.block)
    np.testing.assert_array_equal(again.scores, decided.scores[[5, 0]])
    assert [path.name for path in part.paths] == ["pasted.png", "0.png"]
    assert part.columns == {"odd": ("0", "0")}
    assert len(images.subset(images.truth("red"))) == 3
    assert len(images.subset([])) == 0


def test_labels_that_no_image_supports_are_refused(engine: Engine, policy: Policy, tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("path,label\nno.png,red\n")
    with pytest.raises(LabelsInvalid, match="ImageNotFound"):
        load_labelled(tmp_path / "labels.csv", engine, [policy])


def with_signal(policy: Policy, kind: str, **options: object) -> Policy:
    content = policy.model_dump(mode="json")
    content["signals"] = [{"name": "extra", "kind": kind, **options}]
    content["categories"]["letters"] = {"signal": "extra", "block": 0.5}
    return Policy.model_validate(content)


def test_signals_that_use_pixels_are_read_once(
    engine: Engine, encoder: ColourEncoder, policy: Policy, labels: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[tuple[int, int] | None] = []

    def look(_: Slow, frame: Frame) -> SignalResult:
        read.append(frame.size)
        return SignalResult(0.7 if frame.size == (640, 560) else 0.1, unsure=frame.size == (640, 560))

    monkeypatch.setattr(Slow, "read", look)
    with installed(monkeypatch):
        changed = with_signal(policy, "slow")
        for _ in range(2):
            images = load_labelled(labels, engine, [policy, changed])
            block = images.block_for(changed)
            assert block.signals["extra"].tolist() == [0.1] * 5 + [0.7]
            assert block.unsure["extra"].tolist() == [False] * 5 + [True]
            assert images.block_for(policy).signals == {}
    assert len(read) == 6  # and none the second time


def test_a_signal_that_cannot_be_made_ends_the_load(engine: Engine, policy: Policy, labels: Path) -> None:
    with pytest.raises(SignalFailed):
        load_labelled(labels, engine, [with_signal(policy, "no-such-kind")])


def test_a_failure_of_a_batch_is_that_of_one_image(
    engine: Engine, policy: Policy, labels: Path, encoder: ColourEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def embed(pixels: Pixels) -> Embeddings:
        rows = ColourEncoder.embed_images(encoder, pixels)
        if (rows[:, 2] > 0.9).any():  # blue
            raise RuntimeError("no blue")
        return rows

    monkeypatch.setattr(encoder, "embed_images", embed)
    images = load_labelled(labels, engine, [policy])
    assert [path.name for path, _ in images.failed] == ["2.png", "broken.png", "no.png"]
    assert len(images) == 5


def test_files_have_small_pictures_or_none(engine: Engine, labels: Path) -> None:
    folder = labels.parent
    found = list(file_thumbnails(engine, [folder / "0.png", folder / "broken.png", folder / "no.png"]))
    assert found[1:] == [None, None]
    assert found[0] is not None
    with Image.open(BytesIO(found[0])) as image:
        assert image.size == (20, 10)
