"""The report of what differs between two versions of a policy: one HTML file."""

import json
from collections.abc import Sequence
from typing import Any

from moderator.policies.schema import Policy
from moderator.reports.blocks import ContactSheet, DataTable, SheetItem
from moderator.reports.page import Report
from moderator.tuning.policy_diff import ImageChange, PartDiff, count_transitions


def policy_diff_report(
    before: Policy,
    after: Policy,
    parts: Sequence[PartDiff],
    count: int,
    changes: Sequence[ImageChange],
    thumbnails: Sequence[bytes | None],
) -> Report:
    """Return the report.

    Args:
        before: one version.
        after: the other.
        parts: what differs in words and thresholds.
        count: of the images that both judged.
        changes: the images decided differently, most changed first.
        thumbnails: of the first of them; the others are counted alone.
    """
    share = f"{len(changes) / count:.1%}" if count else "-"
    report = Report(
        f"{before.reference} and {after.reference}",
        [("images", f"{count:,}"), ("decided differently", f"{len(changes):,}"), ("share", share)],
        lead=f"What changes if {after.reference} decides in place of {before.reference}.",
        facts=[(policy.reference, policy.digest) for policy in (before, after)],
    )
    transitions = list(count_transitions(changes).items())
    if transitions:
        report.section("Decisions", DataTable("Images by change", ("change", "images"), transitions))
    items = [
        SheetItem(thumbnail, f"{change.before} to {change.after}", _facts(change))
        for change, thumbnail in zip(changes, thumbnails, strict=False)
    ]
    if items:
        more = len(changes) - len(items)
        text = f"{more:,} more are not shown." if more else ""
        report.section("Images", ContactSheet("Most changed first", items, text))
    rows = [row for part in parts for row in _rows(part)]
    if rows:
        report.section(
            "Words and thresholds", DataTable("Changes", ("where", "what", "before", "after"), rows)
        )
    return report


def _rows(part: PartDiff) -> list[tuple[str, str, str, str]]:
    where = part.name or "policy"
    if part.state != "changed":
        where += f" ({part.state})"
    rows = [(where, side, "", text) for side, texts in part.added.items() for text in texts]
    rows += [(where, side, text, "") for side, texts in part.removed.items() for text in texts]
    return rows + [(where, key.key, _text(key.before), _text(key.after)) for key in part.keys]


def _text(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _facts(change: ImageChange) -> tuple[str, ...]:
    label = (f"label: {change.label}",) if change.label else ()
    return (_score_text(change), *label, change.path.name)


def _score_text(change: ImageChange) -> str:
    before, after = (
        "-" if score is None else f"{score:.2f}" for score in (change.score_before, change.score_after)
    )
    return f"{change.category} {before} to {after}"
