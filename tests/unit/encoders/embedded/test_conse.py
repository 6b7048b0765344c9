import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moderator.encoders.embedded import conse
from moderator.encoders.embedded.class_texts import ClassTexts


def unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def make(
    classes: int = 40, features: int = 60, width: int = 12, seed: int = 0
) -> tuple[ClassTexts, np.ndarray]:
    """Classes with one to three texts each, the last of which neighbours share."""
    random = np.random.default_rng(seed)
    vectors = unit(random.normal(size=(2 * classes, width)).astype(np.float32) + 1)
    members = [[n, classes + n, classes + (n + 1) % classes][: 1 + n % 3] for n in range(classes)]
    starts = np.cumsum([0, *map(len, members[:-1])])
    texts = ClassTexts(vectors, np.concatenate(members), starts, "digest")
    return texts, random.normal(size=(classes, features)).astype(np.float32)


def means(texts: ClassTexts) -> np.ndarray:
    ends = [*texts.starts[1:], len(texts.members)]
    spans = zip(texts.starts, ends, strict=True)
    return unit(np.stack([texts.vectors[texts.members[a:b]].mean(axis=0) for a, b in spans]))


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_classes_are_centred_and_of_length_one(seed: int) -> None:
    texts, weight = make(seed=seed)
    space = conse.join(texts, weight)
    np.testing.assert_allclose(np.linalg.norm(space.classes, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(space.mean, means(texts).mean(axis=0), atol=1e-6)
    centred = means(texts) - space.mean
    np.testing.assert_allclose(
        (space.classes * centred).sum(axis=1), np.linalg.norm(centred, axis=1), atol=1e-5
    )


def test_the_linear_map_solves_the_ridge_problem() -> None:
    texts, weight = make()
    space = conse.join(texts, weight)
    rows = (weight - weight.mean(axis=0)).astype(np.float64)
    penalty = conse.RIDGE_PENALTY * np.square(rows).sum() / rows.shape[1]
    gradient = rows.T @ (rows @ space.linear - space.classes) + penalty * space.linear
    np.testing.assert_allclose(gradient, 0, atol=1e-4)


def test_a_small_penalty_sends_each_detector_to_its_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conse, "RIDGE_PENALTY", 1e-6)
    texts, weight = make()
    space = conse.join(texts, weight)
    reached = (weight - weight.mean(axis=0)) @ space.linear
    # Centred rows sum to zero, so all that is left over is the mean of the classes.
    np.testing.assert_allclose(reached, space.classes - space.classes.mean(axis=0), atol=1e-3)


def test_what_all_rows_share_does_not_count() -> None:
    texts, weight = make()
    shifted = conse.join(texts, weight + 3)
    np.testing.assert_allclose(shifted.linear, conse.join(texts, weight).linear, atol=1e-4)


def distribution(space: conse.JointSpace, vector: np.ndarray) -> np.ndarray:
    """q of one text, one class at a time."""
    centred = unit((vector - space.mean)[None])[0]
    ends = [*space.starts[1:], len(space.members)]
    best = [max(space.texts[space.members[a:b]] @ centred) for a, b in zip(space.starts, ends, strict=True)]
    weights = np.exp(np.array(best, np.float64) / conse.TEXT_TEMPERATURE)
    return weights / weights.sum()


def test_rows_of_texts_have_length_one_and_hold_cosines_and_affinities() -> None:
    texts, weight = make()
    space = conse.join(texts, weight)
    assert space.basis.shape == (40, 40), "no more directions than classes"
    vectors = texts.vectors[:7]
    rows = space.embed_texts(vectors)
    assert rows.dtype == np.float32
    assert not rows[:, -2].any(), "the coordinate of images"
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)

    centred = unit(vectors - space.mean)
    roots = np.sqrt([distribution(space, vector) for vector in vectors])
    share = conse.AFFINITY_SHARE
    # All directions are kept here, so that nothing is left for the last coordinate.
    expected = (1 - share) * centred @ centred.T + share * roots @ roots.T
    np.testing.assert_allclose(rows @ rows.T, expected, atol=1e-4)


def test_the_kept_directions_are_orthonormal_and_hold_the_most(monkeypatch: pytest.MonkeyPatch) -> None:
    texts, weight = make()
    whole = conse.join(texts, weight)
    monkeypatch.setattr(conse, "AFFINITY_DIMENSION", 10)
    few = conse.join(texts, weight)
    np.testing.assert_allclose(few.basis.T @ few.basis, np.eye(10), atol=1e-5)
    np.testing.assert_allclose(np.abs((few.basis * whole.basis[:, :10]).sum(axis=0)), 1, atol=1e-3)
    roots = np.sqrt([distribution(few, vector) for vector in texts.vectors])
    kept = np.square(roots @ few.basis).sum() / np.square(roots).sum()
    other = np.linalg.qr(np.random.default_rng(0).normal(size=(40, 10)))[0]
    assert kept > np.square(roots @ other).sum() / np.square(roots).sum()
    np.testing.assert_allclose(np.linalg.norm(few.embed_texts(texts.vectors), axis=1), 1, atol=1e-5)


def test_texts_do_not_depend_on_their_block(monkeypatch: pytest.MonkeyPatch) -> None:
    texts, weight = make()
    space = conse.join(texts, weight)
    whole = space.embed_texts(texts.vectors)
    monkeypatch.setattr(conse, "_TEXT_BLOCK", 7)
    found = space.embed_texts(texts.vectors)
    np.testing.assert_allclose(found[:, :-1], whole[:, :-1], atol=1e-6)
    # The root of what remains of 1, which a CPU that adds up a block in another order may round by 1e-7.
    np.testing.assert_allclose(found[:, -1] ** 2, whole[:, -1] ** 2, atol=1e-6)
    assert space.embed_texts(texts.vectors[:0]).shape == (0, whole.shape[1])
