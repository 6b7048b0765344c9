"""Find thresholds that no score reaches, or every score, and thresholds that name no encoder. Pure.

The range of a category's scores follows from its rule, its calibration or its condition.
"""

from collections.abc import Iterator, Mapping

from moderator.policies.category_schema import Category, Rule
from moderator.policies.condition_parser import AND, Condition, Joined, Named, names_in
from moderator.policies.fields import NEVER, NO_SHIFT
from moderator.policies.lint_finding import LintFinding, Severity
from moderator.policies.schema import Policy
from moderator.policies.yaml_reader import KeyPath

#: The lowest and the highest score that an image can have.
ScoreRange = tuple[float, float]


def lint_thresholds(policy: Policy) -> Iterator[LintFinding]:
    """Yield the findings on thresholds: those of the policy, and those of each encoder that it lists."""
    for name, category in policy.categories.items():
        if not (policy.encoders and all(name in scales.categories for scales in policy.encoders)):
            yield from _reach(("categories", name), category, policy.categories)
    for n, scales in enumerate(policy.encoders):
        here = scales.apply(policy.categories)
        for name in scales.categories:
            yield from _reach(("encoders", n, "categories", name), here[name], here)
        yield from _left_out(policy, n)
    yield from _no_encoder(policy)


def score_range(category: Category, categories: Mapping[str, Category]) -> ScoreRange:
    """Return the range of a category's scores: no image is outside, and some may be at its ends.

    Args:
        category: one of the policy's.
        categories: all of them, on the same encoder.
    """
    if category.condition is not None:
        return _range_of(category.condition, categories)
    low, high = 0.0, highest_by_rule(category)
    return (low, high) if category.calibration is None else category.calibration.score_range


def highest_by_rule(category: Category) -> float:
    """Return the score that no image exceeds by the rule alone: 1/n for `softmax-mean` over n prompts, else 1."""
    is_mean = category.has_prompts and category.rule is Rule.SOFTMAX_MEAN
    return 1 / len(category.unsafe) if is_mean else 1.0


def _range_of(condition: Condition, categories: Mapping[str, Category]) -> ScoreRange:
    if isinstance(condition, Named):
        low, high = score_range(categories[condition.name], categories)
        return (1 - high, 1 - low) if condition.negated else (low, high)
    ranges = [_range_of(part, categories) for part in condition.parts]
    join = min if condition.word == AND else max
    return join(low for low, _ in ranges), join(high for _, high in ranges)


def _reach(path: KeyPath, category: Category, categories: Mapping[str, Category]) -> Iterator[LintFinding]:
    low, high = score_range(category, categories)
    why = f"{_cause(category)} no score exceeds {_rounded(high)}"
    remedy = f"lower it to at most {_rounded(high)}"
    if category.has_prompts and category.rule is Rule.SOFTMAX_MEAN:
        why = f"{_cause(category)} no score exceeds 1/{len(category.unsafe)} = {_rounded(high)}"
        remedy += ", or use 'rule: softmax-sum'"
    if category.review is not None and category.review > high:
        message = f"review {category.review:g} can never be reached: {why}; {remedy}"
        yield LintFinding((*path, "review"), Severity.ERROR, message)
    if high < category.block < NEVER:
        # Not an error: the classic recipe still blocks where the unsafe score is at least the safe one.
        message = f"block {category.block:g} can never be reached: {why}; {remedy}"
        yield LintFinding((*path, "block"), Severity.WARNING, message)
    for key, threshold in (("review", category.review), ("block", category.block)):
        if threshold is not None and threshold <= low:
            message = (
                f"{key} {threshold:g} is reached by every image: {_cause(category)} no score is below "
                f"{_rounded(low)}; raise it"
            )
            yield LintFinding((*path, key), Severity.ERROR, message)


def _cause(category: Category) -> str:
    if category.when is not None:
        return f"of '{category.when}'"
    if category.calibration is not None:
        return f"with the {category.calibration.kind} calibration"
    return f"with {category.rule} over {len(category.unsafe)} unsafe prompts"


def _rounded(score: float) -> str:
    return f"{score:.3g}"


def _left_out(policy: Policy, n: int) -> Iterator[LintFinding]:
    """Yield categories of words that an encoder leaves out, and reviews that it drops."""
    scales = policy.encoders[n]
    for name, category in policy.categories.items():
        if category.has_prompts and name not in scales.categories:
            message = (
                f"lists no thresholds of '{name}', so those of the category count, which were not measured on "
                f"{scales.identity}; add them"
            )
            yield LintFinding(("encoders", n), Severity.WARNING, message)
    for name, scale in scales.categories.items():
        if policy.categories[name].review is not None and "review" not in scale.model_fields_set:
            message = (
                f"sends nothing of '{name}' to people, and the category has review "
                f"{policy.categories[name].review:g}; add 'review:' here, or 'review: never'"
            )
            yield LintFinding(("encoders", n, "categories", name), Severity.WARNING, message)


def _no_encoder(policy: Policy) -> Iterator[LintFinding]:
    measured = [
        name
        for name, category in policy.categories.items()
        if category.has_prompts and (category.midpoint != NO_SHIFT or category.calibration is not None)
    ]
    if measured and not policy.encoders:
        named = ", ".join(measured[:5]) + (" and others" if measured[5:] else "")
        message = (
            f"the midpoint or calibration of {named} was measured on an encoder, and nothing says on "
            "which; `policy tune` writes 'encoders:', and another encoder is then refused"
        )
        yield LintFinding(("categories",), Severity.HINT, message)


def lint_conditions(policy: Policy) -> Iterator[LintFinding]:
    """Yield conditions that name a category and its opposite side by side."""
    for name, category in policy.categories.items():
        for word, named in _opposites(category.condition):
            bound = "exceeds" if word == AND else "is below"
            message = f"'{named} {word} not {named}' means little: its score never {bound} 0.5; correct the condition"
            yield LintFinding(("categories", name, "when"), Severity.WARNING, message)


def _opposites(condition: Condition | None) -> Iterator[tuple[str, str]]:
    if isinstance(condition, Joined):
        sides = {(part.name, part.negated) for part in condition.parts if isinstance(part, Named)}
        for name in sorted({name for name, negated in sides if (name, not negated) in sides}):
            yield condition.word, name
        for part in condition.parts:
            yield from _opposites(part)


def used_in_conditions(policy: Policy) -> set[str]:
    """Return the categories that conditions name."""
    return {
        name
        for category in policy.categories.values()
        if category.condition is not None
        for name in names_in(category.condition)
    }
