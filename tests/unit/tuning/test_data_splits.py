import numpy as np

from moderator.tuning.data_splits import choosing_split, copies_of, deal, strata_of


def test_a_split_has_its_share_of_each_stratum() -> None:
    strata = np.array(["gun|films"] * 40 + ["gun|shops"] * 20 + ["|shops"] * 100)
    chosen = choosing_split(strata, np.arange(160), 0.6, seed=3)
    assert [int(chosen[strata == stratum].sum()) for stratum in ("gun|films", "gun|shops", "|shops")] == [
        24,
        12,
        60,
    ]
    assert (chosen != choosing_split(strata, np.arange(160), 0.6, seed=4)).any()


def test_folds_have_their_share_of_each_stratum() -> None:
    strata = np.array(["a"] * 23 + ["b"] * 57)
    pile = deal(strata, np.arange(80), 5, seed=0)
    assert set(np.bincount(pile).tolist()) == {16}
    assert set(np.bincount(pile[strata == "a"]).tolist()) == {4, 5}


def test_copies_stay_on_one_side() -> None:
    rows = np.random.default_rng(0).normal(size=(30, 8))
    rows = np.concatenate([rows, rows[:10] + 0.001])
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    copies = copies_of(rows)
    assert copies.tolist() == [*range(30), *range(10)]
    for seed in range(5):
        chosen = choosing_split(np.array(["x"] * 40), copies, 0.5, seed)
        assert (chosen[30:] == chosen[:10]).all()
        pile = deal(np.array(["x"] * 40), copies, 5, seed)
        assert (pile[30:] == pile[:10]).all()


def test_strata_join_labels_and_source() -> None:
    shows = [frozenset({"b", "a"}), frozenset[str]()]
    assert strata_of(shows, {"source": ["web", "shop"]}).tolist() == ["a+b|web", "|shop"]
    assert strata_of(shows, {"colour": ["red", "red"]}).tolist() == ["a+b|", "|"]
