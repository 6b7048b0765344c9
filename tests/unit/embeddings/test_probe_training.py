from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold

from moderator.embeddings.labelled import Labelled, read_class_texts, read_labelled
from moderator.embeddings.probe_training import choose_c, cross_validate, evaluate, train
from moderator.errors import LabelsInvalid, ModelMismatch, ProbeInvalid
from moderator.signals.kinds.linear_probe import Probe
from tests.support.colour_encoder import ColourEncoder, unit

IDENTITY = ColourEncoder().identity


def clouds(labels: str, count: int, spread: float, seed: int = 0) -> tuple[np.ndarray, list[str]]:
    """Overlapping clouds of unit vectors, one per letter."""
    random = np.random.default_rng(seed)
    middles = np.random.default_rng(99).normal(size=(len(labels), 16))
    rows = np.concatenate([middle + spread * random.normal(size=(count, 16)) for middle in middles])
    return unit(rows), [label for label in labels for _ in range(count)]


@pytest.mark.parametrize("labels", ["ab", "abc"])
def test_probabilities_are_those_of_scikit_learn(labels: str) -> None:
    rows, truth = clouds(labels, 40, 1.5)
    probe = train(rows, truth, IDENTITY, c=0.316)
    expected = LogisticRegression(C=0.316, max_iter=1000).fit(rows.astype(float), truth).predict_proba(rows)
    assert np.abs(probe.probabilities(rows) - expected).max() < 1e-5
    assert probe.labels == tuple(labels)
    assert 0.1 < expected.max() < 0.999


def test_c_is_chosen_by_the_noise() -> None:
    clear, truth = clouds("abc", 40, 0.1)
    noisy, _ = clouds("abc", 40, 6.0)
    assert choose_c(noisy, np.array(truth)) < 10 < choose_c(clear, np.array(truth))
    exponent = np.log10(choose_c(noisy, np.array(truth)))
    assert exponent * 8 == pytest.approx(round(exponent * 8)), "96 steps from 1e-6 to 1e6"


def test_cross_validation_as_scikit_learn_does_it() -> None:
    rows, truth = clouds("abc", 30, 2.0)
    others = {"a": rows[:, 0], "unknown": rows[:, 1]}
    figures, plain = cross_validate(rows, truth, IDENTITY, others)
    y = np.array(truth)
    aucs, zero = [], []
    for inside, outside in StratifiedKFold(5, shuffle=True, random_state=0).split(rows, y):
        c = train(rows[inside], list(y[inside]), IDENTITY).c
        model = LogisticRegression(C=c, max_iter=1000).fit(rows[inside].astype(float), y[inside])
        aucs.append(roc_auc_score(y[outside] == "b", model.predict_proba(rows[outside])[:, 1]))
        zero.append(roc_auc_score(y[outside] == "a", rows[outside, 0]))
    assert figures.auc["b"] == pytest.approx(np.mean(aucs))
    assert plain == {"a": pytest.approx(np.mean(zero))}
    assert 0.6 < figures.auc["b"] < 1
    assert figures.macro_auc(["b"]) == figures.auc["b"]
    assert figures.images == 90


def test_labels_that_mean_nothing_score_at_chance() -> None:
    rows, truth = clouds("ab", 100, 1.0)
    shuffled = list(np.random.default_rng(3).permutation(truth))
    figures, _ = cross_validate(rows, shuffled, IDENTITY)
    assert abs(figures.auc["a"] - 0.5) < 0.15


def test_a_probe_survives_its_file(tmp_path: Path) -> None:
    rows, truth = clouds("abc", 20, 1.0)
    probe = train(rows, truth, IDENTITY)
    path = tmp_path / "new" / "p.safetensors"
    probe.save(path)
    loaded = Probe.load(path)
    assert (loaded.labels, loaded.identity, loaded.c) == (probe.labels, IDENTITY, probe.c)
    assert np.array_equal(loaded.probabilities(rows), probe.probabilities(rows))
    assert [p.name for p in path.parent.iterdir()] == ["p.safetensors"]
    loaded.check(ColourEncoder().identity, path)
    with pytest.raises(ModelMismatch, match="train it again"):
        loaded.check(ColourEncoder("2").identity, path)
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(ProbeInvalid, match="is no probe, or is broken"):
        Probe.load(path)
    with pytest.raises(ProbeInvalid, match="there is no file"):
        Probe.load(tmp_path / "nothing")


def test_too_few_images() -> None:
    rows, truth = clouds("ab", 20, 1.0)
    with pytest.raises(LabelsInvalid, match="at least two labels"):
        train(rows[:20], truth[:20], IDENTITY)
    with pytest.raises(LabelsInvalid, match="'b' has 2 images and needs 5"):
        cross_validate(rows[:22], truth[:22], IDENTITY)
    with pytest.raises(LabelsInvalid, match="does not know 'c'"):
        evaluate(train(rows, truth, IDENTITY, 1.0), rows[:1], ["c"])


def test_labelled_images_of_folders_and_tables(tmp_path: Path) -> None:
    for name in ("cat/1.png", "cat/more/2.JPG", "dog/3.png", "dog/notes.txt", "4.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    expected = [("cat/1.png", "cat"), ("cat/more/2.JPG", "cat"), ("dog/3.png", "dog")]
    assert read_labelled(tmp_path) == [Labelled(str(tmp_path / path), label) for path, label in expected]
    table = tmp_path / "labels.csv"
    table.write_text('category,path,other\ndog,"a, b.png",1\ncat,c.png,\n')
    rows = [Labelled(str(tmp_path / "a, b.png"), "dog"), Labelled(str(tmp_path / "c.png"), "cat")]
    assert read_labelled(tmp_path) == read_labelled(table) == rows
    table.write_text("path,kind\na.png,cat\n")
    with pytest.raises(LabelsInvalid, match="needs the columns"):
        read_labelled(tmp_path)
    table.write_text("path,label\n")
    with pytest.raises(LabelsInvalid, match="no labelled images"):
        read_labelled(tmp_path)


def test_class_texts(tmp_path: Path) -> None:
    path = tmp_path / "classes.txt"
    path.write_text("# ImageNet\nn01440764\ttench\n\ngoldfish\n")
    assert read_class_texts(path) == {"n01440764": "tench", "goldfish": "goldfish"}
    path.write_text("a\na\tb\n")
    with pytest.raises(LabelsInvalid, match="line 2: class 'a' is there twice"):
        read_class_texts(path)
