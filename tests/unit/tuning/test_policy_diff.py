"""What differs between two versions: words, thresholds, and decisions about images."""

from pathlib import Path

import numpy as np

from moderator.policies.loader import parse_policy
from moderator.scoring.batch_decisions import BatchDecisions
from moderator.tuning.policy_diff import KeyChange, changed_images, count_transitions, diff_policies
from moderator.tuning.policy_diff_report import policy_diff_report
from tests.support.policy_files import TEXT

BASE = parse_policy(TEXT.format(name="market", version=1, block=0.8))
OTHER = parse_policy(
    TEXT.format(name="market", version=2, block=0.7)
    .replace("a chair", "a table")
    .replace("[a gun, a rifle]", "[a gun, a sword]")
    + "  drugs: {unsafe: [pills], safe: [sweets]}\n"
)
PATHS = tuple(Path(f"{n}.jpg") for n in range(6))


def decisions(levels: list[list[int]], scores: list[list[float]]) -> BatchDecisions:
    many = np.array(levels, dtype=np.int8)
    computable = (many >= 0).all(axis=1) | (many.max(axis=1) == 2)
    return BatchDecisions(
        ("drugs", "weapons"),
        np.array(scores, dtype=np.float32),
        many,
        np.where(computable, many.max(axis=1), -1).astype(np.int8),
    )


BEFORE = decisions(
    [[0, 0], [0, 0], [0, 2], [0, 1], [1, 0], [0, 0]],
    [[0.1, 0.2], [0.1, 0.4], [0.1, 0.9], [0.2, 0.6], [0.5, 0.3], [0.0, 0.0]],
)
AFTER = decisions(
    [[0, 0], [0, 1], [0, 0], [0, 1], [1, 2], [-1, 0]],
    [[0.1, 0.3], [0.1, 0.6], [0.1, 0.3], [0.2, 0.7], [0.5, 0.8], [np.nan, 0.0]],
)


def test_two_versions_with_the_same_content_do_not_differ() -> None:
    assert diff_policies(BASE, parse_policy(TEXT.format(name="art", version=9, block=0.8))) == []


def test_what_differs_is_listed_by_category() -> None:
    policy, drugs, weapons = diff_policies(BASE, OTHER)
    assert (policy.name, policy.added["safe"], policy.removed["safe"]) == ("", ("a table",), ("a chair",))
    assert (drugs.state, drugs.added["unsafe"], drugs.removed["unsafe"]) == ("added", ("pills",), ())
    assert KeyChange("block", None, 0.5) in drugs.keys
    assert (weapons.added["unsafe"], weapons.removed["unsafe"]) == (("a sword",), ("a rifle",))
    assert weapons.keys == (KeyChange("block", 0.8, 0.7),)
    assert [part.state for part in diff_policies(OTHER, BASE)] == ["changed", "removed", "changed"]


def test_the_images_that_change_most_come_first() -> None:
    changes = changed_images(PATHS, BEFORE, AFTER)
    assert [(c.path.name, c.before, c.after, c.category) for c in changes] == [
        ("2.jpg", "block", "allow", "weapons"),
        ("4.jpg", "review", "block", "weapons"),
        ("1.jpg", "allow", "review", "weapons"),
        ("5.jpg", "allow", "not computable", "drugs"),
    ]
    assert (changes[0].score_before, changes[0].score_after) == (0.9, 0.3)
    assert count_transitions(changes)["block to allow"] == 1


def test_an_image_of_which_a_part_was_not_judged_is_never_allowed() -> None:
    unseen = np.array([False, True, True, False, False, False])
    changes = changed_images(PATHS, BEFORE, AFTER, unseen)
    assert [(c.path.name, c.before, c.after) for c in changes][:2] == [
        ("2.jpg", "block", "review"),
        ("4.jpg", "review", "block"),
    ]
    assert "1.jpg" not in {c.path.name for c in changes}


def test_a_report_shows_words_and_pictures() -> None:
    changes = changed_images(PATHS, BEFORE, AFTER, labels=["", "", "a toy", "", "", ""])
    assert [change.label for change in changes] == ["a toy", "", "", ""]
    html = policy_diff_report(BASE, OTHER, diff_policies(BASE, OTHER), 6, changes, [b"", None]).html()
    for text in (
        "a rifle",
        "a sword",
        "block to allow",
        "2.jpg",
        "label: a toy",
        "2 more are not shown",
        "66.7%",
    ):
        assert text in html
