from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from moderator.engine.engine import Engine
from moderator.errors import LabelsInvalid
from moderator.policies.loader import parse_policy
from moderator.policies.schema import Policy
from moderator.tuning.draft_policy import write_draft
from moderator.tuning.evaluation import decide_images
from moderator.tuning.labelled_images import LabelledImages, load_labelled
from moderator.tuning.probe_files import write_probes
from moderator.tuning.threshold_choice import parse_target
from moderator.tuning.tuning_bench import TuningBench
from moderator.tuning.tuning_fit import TuningOptions
from moderator.tuning.tuning_run import TuningResult, tune_policy
from moderator.tuning.tuning_texts import note_of, record_of_tuning
from tests.support.colour_encoder import ColourEncoder


@pytest.fixture
def images(engine: Engine, policy: Policy, tmp_path: Path) -> LabelledImages:
    """A hundred pictures of one colour each: the redder, the more probably labelled red."""
    random = np.random.default_rng(0)
    rows = ["path,category"]
    for number in range(100):
        colour = random.integers(30, 256, 3)
        Image.new("RGB", (16, 16), tuple(colour.tolist())).save(tmp_path / f"{number}.png")
        red = colour[0] - colour[1:].mean() + random.normal() * 20 > 40
        rows.append(f"{number}.png,{'red' if red else ''}")
    (tmp_path / "labels.csv").write_text("\n".join(rows))
    return load_labelled(tmp_path / "labels.csv", engine, [policy])


@pytest.fixture
def bench(engine: Engine, policy: Policy, images: LabelledImages) -> TuningBench:
    return TuningBench(policy, engine.compiler, images)


@pytest.fixture
def text(engine: Engine) -> str:
    return (engine.settings.policies / "colours" / "1.yaml").read_text()


def draft_of(result: TuningResult, engine: Engine) -> Policy:
    write_probes(engine.settings.policies, result.files)
    path = write_draft(
        engine.settings.policies, result.text, note_of(result, "colours@1", "labels.csv", 0, "colours")
    )
    assert path.read_text().startswith("# Note: made from colours@1 by moderator policy tune, for")
    return parse_policy(path.read_text())


def test_thresholds_are_stored_for_the_encoder_that_measured_them(
    bench: TuningBench, text: str, engine: Engine, encoder: ColourEncoder
) -> None:
    result = tune_policy(text, bench, parse_target("recall>=90%"), TuningOptions())
    draft = draft_of(result, engine)
    assert draft.version == 4
    assert [scales.identity for scales in draft.encoders] == [encoder.identity]
    assert draft.categories == bench.policy.categories
    assert (result.chosen + result.reported, result.tried) == (100, 0)
    assert 65 <= result.chosen <= 75
    decided = decide_images(engine.compiler.compile(draft), bench.images)
    truth = bench.images.truth("red")
    assert (decided.decisions[truth] > 0).mean() >= 0.8
    found = result.categories["red"].after.found.value
    assert found is not None
    assert found > (result.categories["red"].before.found.value or 0)


def test_the_same_seed_gives_the_same_draft(bench: TuningBench, text: str) -> None:
    target, options = parse_target("fpr<=5%"), TuningOptions(probe=True, seed=3)
    first, second = (tune_policy(text, bench, target, options) for _ in range(2))
    assert first.text == second.text
    assert first.files == second.files
    other = tune_policy(text, bench, target, TuningOptions(probe=True, seed=4))
    assert other.text != first.text


@pytest.mark.parametrize("calibrate", [None, "platt", "isotonic"])
def test_a_probe_is_pinned_beside_the_words(
    calibrate: str | None, bench: TuningBench, text: str, engine: Engine
) -> None:
    result = tune_policy(text, bench, parse_target("fpr<=10%"), TuningOptions(probe=True), calibrate)
    draft = draft_of(result, engine)
    probe = draft.categories["red"].probe
    assert probe is not None
    (signal,) = draft.signals
    assert (signal.name, signal.kind, signal.options["unsafe"]) == (probe.signal, "probe", ["red"])
    assert signal.file is not None
    assert (engine.settings.policies / signal.file).read_bytes() == result.files[signal.file]
    # A worker reads the probe from its file, and decides what was reported.
    images = load_labelled(bench.images.paths[0].parent / "labels.csv", engine, [draft])
    decided = decide_images(engine.compiler.compile(draft), images)
    truth = images.truth("red")
    assert (decided.decisions[~truth] > 0).mean() <= 0.2
    assert (decided.decisions[truth] > 0).mean() >= 0.5
    if calibrate is not None:
        calibration = draft.encoders[0].categories["red"].calibration
        assert calibration is not None
        assert calibration.kind == calibrate
    assert record_of_tuning(result)["files"] == [signal.file]


def test_too_few_images_are_refused(bench: TuningBench, engine: Engine, text: str) -> None:
    few = TuningBench(bench.policy, engine.compiler, bench.images.subset(np.arange(30)))
    distinct = len(np.unique(few.copies))
    with pytest.raises(LabelsInvalid, match=f"30 labelled images, {distinct} without copies .* are too few"):
        tune_policy(text, few, parse_target("fpr<=5%"), TuningOptions())


def test_a_search_of_prompts_gives_a_valid_draft(bench: TuningBench, text: str, engine: Engine) -> None:
    result = tune_policy(text, bench, parse_target("fpr<=5%"), TuningOptions(prompts=True))
    draft = draft_of(result, engine)
    assert result.tried > 1000
    assert draft.safe == bench.policy.safe
    red, before = result.categories["red"], bench.policy.categories["red"]
    assert draft.categories["red"].unsafe == tuple(
        text for text in (*before.unsafe, *red.unsafe_added) if text not in red.unsafe_removed
    )
    assert len(draft.encoders) == 1
