import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moderator.encoders.embedded import conse


def make(
    classes: int = 40, features: int = 60, texts: int = 12, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    rows = random.normal(size=(classes, texts)).astype(np.float32) + 1
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows, random.normal(size=(classes, features)).astype(np.float32)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_classes_are_centred_and_of_length_one(seed: int) -> None:
    texts, weight = make(seed=seed)
    space = conse.join(texts, weight)
    np.testing.assert_allclose(np.linalg.norm(space.classes, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(space.mean, texts.mean(axis=0), atol=1e-6)
    centred = texts - space.mean
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
