"""The policy `classic` says the same as the zero-shot recipe that people write with plain transformers."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from moderator import Moderator, Settings, Verdict
from moderator.cli.main import app
from moderator.policies.catalogue import Catalogue
from moderator.policies.schema import Policy
from moderator.settings import load_settings
from tests.support.clip_reference import PHOTOGRAPHS, Reference, Sample, photographs, synthetic

POLICIES = Path(__file__).parents[2] / "policies"
# The recipe as it is known, word for word.
UNSAFE = ("inappropriate content", "violent or graphic imagery", "explicit material")
SAFE = ("a safe family-friendly image", "appropriate content for all ages", "a normal photograph")
THRESHOLD = 0.5
#: What a reduced decoding may change: cosine of the embeddings, and the unsafe score of `classic`.
DRAFT_COSINE = 0.999
DRAFT_SCORE = 0.02


@pytest.fixture(scope="module")
def samples() -> list[Sample]:
    return [*photographs(), *synthetic()]


@pytest.fixture(scope="module")
def policy() -> Policy:
    """The version that is active in this project."""
    return Catalogue(POLICIES).get("classic")


@pytest.fixture(scope="module")
def settings(clip_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return Settings(
        policies=POLICIES,
        default_policy="classic",
        encoder=f"clip:{clip_folder}",
        device="cpu",
        dtype="float32",
        jpeg_draft=False,
        cache=tmp_path_factory.mktemp("cache"),
    )


@pytest.fixture(scope="module")
def moderator(settings: Settings) -> Moderator:
    return Moderator(settings)


@pytest.fixture(scope="module")
def verdicts(moderator: Moderator, samples: list[Sample]) -> list[Verdict]:
    return moderator.check([sample.data for sample in samples])


@pytest.fixture(scope="module")
def probabilities(clip_folder: Path, samples: list[Sample]) -> np.ndarray:
    """Softmax over all prompts, for each image as its worst rendering shows it."""
    images = [image for sample in samples for image in sample.renderings]
    # At once: the texts cost several times as much as an image.
    rows = Reference(clip_folder).probabilities(images, [*UNSAFE, *SAFE])
    ends = np.cumsum([len(sample.renderings) for sample in samples])
    each = np.split(rows, ends[:-1])
    return np.stack([p[p[:, : len(UNSAFE)].mean(axis=1).argmax()] for p in each])


def test_the_policy_is_the_recipe(policy: Policy) -> None:
    (category,) = policy.categories.values()
    assert (policy.templates, policy.safe) == (("{}",), ())
    assert (category.unsafe, category.safe) == (UNSAFE, SAFE)
    assert (category.rule, category.block, category.review) == ("softmax-mean", THRESHOLD, None)


def test_scores_and_decisions_are_those_of_the_recipe(
    samples: list[Sample], verdicts: list[Verdict], probabilities: np.ndarray
) -> None:
    count = len(UNSAFE)
    for sample, verdict, p in zip(samples, verdicts, probabilities, strict=True):
        unsafe_score, safe_score = p[:count].mean(), p[count:].mean()
        is_safe = safe_score > unsafe_score and unsafe_score < THRESHOLD
        assert verdict.error is None, sample.name
        assert verdict.unsafe_score == pytest.approx(unsafe_score, abs=1e-5), sample.name
        assert verdict.safe_score == pytest.approx(safe_score, abs=1e-5), sample.name
        assert verdict.is_safe == is_safe, sample.name
        assert verdict.decision == ("allow" if is_safe else "block"), sample.name


def test_the_command_gives_the_scores_of_the_recipe(
    settings: Settings,
    samples: list[Sample],
    probabilities: np.ndarray,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("policies", "encoder", "device", "dtype", "jpeg_draft", "cache"):
        monkeypatch.setenv(f"MODERATOR_{name.upper()}", str(getattr(settings, name)))
    few = samples[::8]
    for number, sample in enumerate(few):
        Path(str(number)).write_bytes(sample.data)
    load_settings.cache_clear()
    try:
        names = [str(number) for number in range(len(few))]
        result = CliRunner().invoke(app, ["check", *names, "--policy", "classic", "--json"])
    finally:
        load_settings.cache_clear()
    assert result.exit_code == 0, result.output
    checked = [Verdict.model_validate_json(line) for line in result.stdout.splitlines()]
    for sample, verdict, p in zip(few, checked, probabilities[::8], strict=True):
        assert verdict.policy is not None
        assert (verdict.policy.name, verdict.policy.version) == ("classic", 2)
        assert verdict.unsafe_score == pytest.approx(p[: len(UNSAFE)].mean(), abs=1e-5), sample.name
        assert verdict.safe_score == pytest.approx(p[len(UNSAFE) :].mean(), abs=1e-5), sample.name


def test_probabilities_of_prompts_are_those_of_the_recipe(
    samples: list[Sample], verdicts: list[Verdict], probabilities: np.ndarray
) -> None:
    prompts = [*UNSAFE, *SAFE]
    for sample, verdict, p in zip(samples, verdicts, probabilities, strict=True):
        if len(sample.renderings) > 1:
            continue  # two may be equally bad: which of them is explained is open
        for top in verdict.categories["unsafe"].top_prompts:
            assert top.probability == pytest.approx(p[prompts.index(top.prompt)], abs=3e-5), sample.name


def test_the_comparison_can_fail(samples: list[Sample], probabilities: np.ndarray) -> None:
    assert len(samples) >= 50
    unsafe = probabilities[:, : len(UNSAFE)].mean(axis=1)
    safe = probabilities[:, len(UNSAFE) :].mean(axis=1)
    assert unsafe.std() > 0.05, "scores that are all alike would prove nothing"
    assert 0.1 < (safe > unsafe).mean() < 0.9, "both answers occur"


def test_a_reduced_decoding_of_large_jpegs_moves_scores_little(
    settings: Settings, moderator: Moderator
) -> None:
    drafting = Moderator(settings.model_copy(update={"jpeg_draft": True}), encoder=moderator.engine.encoder)
    for name in ("coffee", "cat"):
        file = io.BytesIO()
        with Image.open(PHOTOGRAPHS / f"{name}.jpg") as image:
            image.convert("RGB").resize((1600, 1200), Image.Resampling.LANCZOS).save(file, "JPEG", quality=92)
        whole, reduced = (m.engine.preparer.prepare(file.getvalue()) for m in (moderator, drafting))
        assert whole.facts == reduced.facts
        assert (whole.pixels != reduced.pixels).any(), "nothing was reduced"
        pixels = np.abs(whole.pixels.astype(int) - reduced.pixels.astype(int))
        assert pixels.mean() < 1, "levels of 255"
        one, other = moderator.engine.embed(whole.pixels)[0], moderator.engine.embed(reduced.pixels)[0]
        assert one @ other > DRAFT_COSINE
        scores = [m.check([file.getvalue()])[0].unsafe_score for m in (moderator, drafting)]
        assert abs(scores[0] - scores[1]) < DRAFT_SCORE
