import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from moderator.engine.engine import Engine
from moderator.errors import LabelsInvalid
from moderator.policies.schema import Policy
from moderator.tuning.evaluation import Evaluation, decide_images, evaluate
from moderator.tuning.evaluation_load import review_load
from moderator.tuning.evaluation_mistakes import worst_mistakes
from moderator.tuning.evaluation_record import record_of
from moderator.tuning.evaluation_report import evaluation_report
from moderator.tuning.evaluation_truth import truth_of
from moderator.tuning.labelled_images import LabelledImages, load_labelled
from moderator.verdicts import Decision


@pytest.fixture
def images(engine: Engine, policy: Policy, labels: Path) -> LabelledImages:
    """Red twice, green, blue, white; a photograph that is labelled red and is not; two that cannot be judged."""
    return load_labelled(labels, engine, [policy])


@pytest.fixture
def mislabelled(images: LabelledImages) -> LabelledImages:
    """Likewise, and the first red image is labelled safe."""
    return replace(images, shows=(frozenset(), *images.shows[1:]))


@pytest.fixture
def evaluation(engine: Engine, policy: Policy, mislabelled: LabelledImages) -> Evaluation:
    return evaluate(engine.compiler.compile(policy), mislabelled, slice_by=["odd"])


def test_decisions_are_counted_against_truth(evaluation: Evaluation) -> None:
    red = evaluation.categories["red"]
    assert (red.shown.total, red.shown.block, red.shown.allow) == (2, 1, 1)
    assert (red.others.total, red.others.block, red.others.allow) == (4, 1, 3)
    assert red.flagged.recall.value == red.flagged.precision.value == red.flagged.f1 == 0.5
    assert red.flagged.false_alarms.value == 0.25
    assert (red.review, red.block) == (None, 0.5)
    assert evaluation.safe == red.others
    assert evaluation.unsafe == red.shown
    assert evaluation.overall.ranking.roc_auc.value == red.ranking.roc_auc.value


def test_the_sentence_says_what_would_happen(evaluation: Evaluation) -> None:
    assert evaluation.sentence == (
        "Of 4 safe images, none would go to review and 1 be blocked. Of 2 images that show something not allowed, "
        "1 would be blocked, none go to review, and 1 be let through."
    )


def test_an_image_that_was_not_seen_in_full_goes_to_review(
    engine: Engine, policy: Policy, images: LabelledImages
) -> None:
    images = replace(images, unseen=np.ones(len(images), dtype=bool))
    decided = decide_images(engine.compiler.compile(policy), images)
    assert decided.decisions.tolist() == [2, 1, 1, 2, 1, 1]


def test_an_image_without_a_score_is_in_no_figure(
    engine: Engine, policy: Policy, images: LabelledImages
) -> None:
    content = policy.model_dump(mode="json")
    content["signals"] = [{"name": "letters", "kind": "text", "words": ["x"]}]
    content["categories"]["words"] = {"signal": "letters"}
    changed = Policy.model_validate(content)
    block = replace(
        images.block, signals={"letters": np.array([0.1, np.nan, 0.9, 0.1, 0.2, np.nan])}, unsure={}
    )
    found = evaluate(engine.compiler.compile(changed), replace(images, block=block))
    words = found.categories["words"]
    assert words.not_computable == 2
    assert words.others.total == 4
    assert found.overall.not_computable == 2  # neither is blocked by another category
    assert found.safe.total + found.unsafe.total == 4


def test_a_condition_is_true_where_labels_say_so(
    engine: Engine, policy: Policy, images: LabelledImages
) -> None:
    content = policy.model_dump(mode="json", exclude_defaults=True)
    content["categories"]["green"] = {"unsafe": ["green"], "safe": ["red"], "block": "never"}
    content["categories"]["either"] = {"when": "green and not red", "block": 0.6}
    changed = Policy.model_validate(content)
    labels = ["red", "green", "", "red", "either", "green;red"]
    images = replace(images, shows=tuple(frozenset(filter(None, one.split(";"))) for one in labels))
    truth = truth_of(engine.compiler.compile(changed), images)
    assert truth.shows[:, list(changed.categories).index("either")].tolist() == [
        False,
        True,
        False,
        False,
        True,
        False,
    ]
    assert truth.unsafe.tolist() == [True, True, False, True, True, True]  # green by itself is no offence
    found = evaluate(engine.compiler.compile(changed), images)
    assert found.categories["either"].shown.total == 2
    assert found.unsafe.total == 5


def test_a_column_that_is_not_there_is_refused(
    engine: Engine, policy: Policy, images: LabelledImages
) -> None:
    with pytest.raises(LabelsInvalid, match="did you mean 'odd'"):
        evaluate(engine.compiler.compile(policy), images, slice_by=["od"])


def test_the_worst_mistakes_name_their_prompts(
    engine: Engine, policy: Policy, mislabelled: LabelledImages, evaluation: Evaluation
) -> None:
    compiled = engine.compiler.compile(policy)
    mistakes = worst_mistakes(compiled, mislabelled, evaluation, 12)
    (alarm,), (missed,) = mistakes.alarms, mistakes.missed
    assert (alarm.path.name, alarm.decision, alarm.category) == ("0.png", Decision.BLOCK, "red")
    assert alarm.top_prompts[0].prompt == "red"
    assert (missed.path.name, missed.decision, missed.shows) == ("pasted.png", Decision.ALLOW, ("red",))
    assert missed.score == pytest.approx(evaluation.decided.scores[5, 0])
    none = worst_mistakes(compiled, mislabelled, evaluation, 0)
    assert (none.alarms, none.alarms_total, none.missed_total) == ((), 1, 1)


def test_load_is_that_of_the_set_and_of_safe_uploads(evaluation: Evaluation) -> None:
    load = review_load(evaluation, 1000)
    assert (load.block.value, load.safe_block.value) == (pytest.approx(1 / 3), 0.25)
    assert load.safe_block_per_day is not None
    assert load.safe_block_per_day.value == 250
    assert review_load(evaluation).review_per_day is None


def test_the_record_is_json_and_its_keys_are_documented(
    engine: Engine, policy: Policy, mislabelled: LabelledImages, evaluation: Evaluation
) -> None:
    mistakes = worst_mistakes(engine.compiler.compile(policy), mislabelled, evaluation, 3)
    record = record_of(evaluation, mislabelled, mistakes, review_load(evaluation, 100))
    assert json.loads(json.dumps(record, allow_nan=False))["summary"] == evaluation.sentence
    assert [failed["path"].rpartition("/")[2] for failed in record["failed"]] == ["broken.png", "no.png"]
    text = (Path(__file__).parents[3] / "docs" / "evaluate.md").read_text()
    missing = [
        key for key in (*record, *record["categories"]["red"], *record["load"]) if f"`{key}`" not in text
    ]
    assert not missing


def test_the_report_has_a_section_for_what_was_asked(
    engine: Engine, policy: Policy, mislabelled: LabelledImages, evaluation: Evaluation
) -> None:
    mistakes = worst_mistakes(engine.compiler.compile(policy), mislabelled, evaluation, 3)
    page = evaluation_report(
        evaluation, mistakes, review_load(evaluation, 100), {}, mislabelled.failed, [("a", "b")], ["A note."]
    ).html()
    for text in (
        evaluation.sentence,
        "A note.",
        "What another threshold would do",
        "Mistakes by odd",
        "pasted.png",
        "ImageNotFound",
        "100 uploads a day",
    ):
        assert text in page
    assert "nan" not in page.lower().replace("finance", "")


def test_images_of_one_kind_alone_are_reported(
    engine: Engine, policy: Policy, images: LabelledImages
) -> None:
    for kind in (True, False):
        part = images.subset(images.truth("red") == kind)
        found = evaluate(engine.compiler.compile(policy), part)
        mistakes = worst_mistakes(engine.compiler.compile(policy), part, found, 3)
        load = review_load(found)
        json.dumps(record_of(found, part, mistakes, load), allow_nan=False)
        assert f"on {len(part)} labelled images" in evaluation_report(found, mistakes, load, {}).html()
