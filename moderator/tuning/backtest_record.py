"""What a back-test found, as JSON values, as a sentence, and as rows of tables. Pure."""

from collections import Counter
from datetime import datetime
from typing import Any

from moderator.tuning.backtest import BacktestResult
from moderator.tuning.backtest_counts import OUTCOMES, BacktestPlan

NOT_COMPUTABLE_NAME = OUTCOMES[-1]
#: What a decision becomes for the person whose upload it is, from harmless to severe.
_STRICTER = {(a, b) for n, a in enumerate(OUTCOMES[:-1]) for b in OUTCOMES[n + 1 : -1]}


def flip_counts(result: BacktestResult) -> dict[tuple[str, str], int]:
    """Return images by decision before and after, of those whose decision changes; most severe first."""
    found = {
        (before, after): count
        for (before, after), count in result.counts.decisions.items()
        if before != after and NOT_COMPUTABLE_NAME not in (before, after)
    }
    return dict(
        sorted(found.items(), key=lambda item: (-OUTCOMES.index(item[0][1]), OUTCOMES.index(item[0][0])))
    )


def category_rows(result: BacktestResult) -> list[tuple[str, int, int, int, int]]:
    """Return category, images that reach review or block before and after, stricter and milder ones; in order."""
    before: Counter[str] = Counter()
    after: Counter[str] = Counter()
    stricter: Counter[str] = Counter()
    milder: Counter[str] = Counter()
    names = {name for name, _, _ in result.counts.categories}
    for (name, a, b), count in result.counts.categories.items():
        if NOT_COMPUTABLE_NAME in (a, b):
            continue
        before[name] += count * (a != OUTCOMES[0])
        after[name] += count * (b != OUTCOMES[0])
        stricter[name] += count * ((a, b) in _STRICTER)
        milder[name] += count * ((b, a) in _STRICTER)
    return [(name, before[name], after[name], stricter[name], milder[name]) for name in sorted(names)]


def day_rows(result: BacktestResult) -> list[tuple[str, int, int, int, int, int, int]]:
    """Return day, images, reviews before and after, blocks before and after, not computable; by day.

    Before and after count the same images: those that are computable.
    """
    days: dict[str, Counter[str]] = {}
    for (day, before, after), count in result.counts.days.items():
        counts = days.setdefault(day, Counter())
        counts["images"] += count
        if NOT_COMPUTABLE_NAME in (before, after):
            counts[NOT_COMPUTABLE_NAME] += count
            continue
        counts[f"before {before}"] += count
        counts[f"after {after}"] += count
    keys = ("images", "before review", "after review", "before block", "after block", NOT_COMPUTABLE_NAME)
    return [(day, *(days[day][key] for key in keys)) for day in sorted(days)]  # type: ignore[misc]


def against_name(plan: BacktestPlan) -> str:
    """Return what a policy is compared with, in words."""
    return "the archived decisions" if plan.against is None else plan.against.policy.reference


def not_computable(result: BacktestResult) -> int:
    """Return the number of images for which one side has no decision."""
    return sum(count for pair, count in result.counts.decisions.items() if NOT_COMPUTABLE_NAME in pair)


def sentence(result: BacktestResult, plan: BacktestPlan) -> str:
    """Return the result in a sentence."""
    counts = result.counts
    name = plan.policy.policy.reference
    if not counts.images:
        return f"{name}: the archive has no such images in this period."
    flips, missing = counts.flips(), not_computable(result)
    known = counts.images - missing
    share = f" ({100 * flips / known:.2g} %)" if known else ""
    text = f"{name} decides {flips:,} of {known:,} images{share} otherwise than {against_name(plan)}."
    return text + (f" {missing:,} are not computable." if missing else "")


def record_of(result: BacktestResult, plan: BacktestPlan) -> dict[str, Any]:
    """Return the result as JSON values."""
    counts = result.counts

    def moment(value: datetime | None) -> str | None:
        return None if value is None else value.isoformat()

    return {
        "policy": plan.policy.policy.reference,
        "digest": plan.policy.policy.digest,
        "against": None if plan.against is None else plan.against.policy.reference,
        "since": moment(result.since),
        "until": moment(result.until),
        "images": counts.images,
        "embeddings": counts.rows,
        "flips": counts.flips(),
        "not_computable": not_computable(result),
        "errors": result.errors,
        "without_evidence": result.without_evidence,
        "decisions": [
            {"before": before, "after": after, "images": count}
            for (before, after), count in sorted(counts.decisions.items())
        ],
        "categories": [
            {"category": name, "before": before, "after": after, "images": count}
            for (name, before, after), count in sorted(counts.categories.items())
        ],
        "days": [
            {"day": day, "before": before, "after": after, "images": count}
            for (day, before, after), count in sorted(counts.days.items())
        ],
        "reasons": dict(sorted(counts.reasons.items())),
        "samples": [
            {
                "verdict_id": flip.verdict_id,
                "before": flip.before,
                "after": flip.after,
                "category": flip.category,
                "score": flip.score,
            }
            for _, flips in sorted(counts.samples.items())
            for flip in flips
        ],
    }
