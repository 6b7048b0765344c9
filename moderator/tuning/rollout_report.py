"""The promotion report of a policy as one HTML page. Pure."""

from collections.abc import Mapping

from moderator.reports.blocks import BarChart, Bars, ContactSheet, DataTable, SheetItem
from moderator.reports.page import Report
from moderator.tuning.rollout import DECISIONS, Change, Disagreement
from moderator.tuning.rollout_figures import (
    CanaryFigures,
    Rollout,
    ShadowFigures,
    describe,
    interval_text,
)

_CANARY_TEXT = (
    "The canary decides for a part of the events that depends on their ids alone, so both versions see the same kind "
    "of images. Compared are the hours in which both decided. Chance: how likely a difference as large would be "
    "without any (Fisher's exact test), adjusted for the number of rows (Holm, 1979)."
)
_OPINIONS_TEXT = (
    "A shadow asks for no second opinions: of these images, {count} had one that changed the decision of the active "
    "version, which some of the disagreements may come from."
)


def rollout_report(rollout: Rollout, thumbnails: Mapping[Disagreement, bytes | None]) -> Report:
    """Return the report.

    Args:
        rollout: what was counted.
        thumbnails: small pictures of the samples.
    """
    conclusions = [one.sentence for one in rollout.shadows]
    summary = [(f"verdicts of {rollout.policy}, {rollout.origin}", f"{rollout.verdicts:,}")]
    for shadow in rollout.shadows:
        version = shadow.counts.version
        summary.append((f"of the images version {version} decides otherwise", interval_text(shadow.changed)))
        summary.append((f"images that version {version} could not judge", f"{shadow.counts.failed:,}"))
    if rollout.canary is not None:
        conclusions.append(rollout.canary.sentence)
        canary = rollout.canary.counts.canary
        summary.append((f"images that the canary {canary.version} decided", f"{canary.images:,}"))
    facts = [("Active version", str(rollout.active)), ("Verdicts", _period(rollout))]
    lead = "\n\n".join([*conclusions, *rollout.notes])
    report = Report(f"Rollout of {rollout.policy}", summary, lead, facts)
    for shadow in rollout.shadows:
        _shadow_sections(report, shadow, rollout.active, thumbnails)
    if rollout.canary is not None:
        _canary_section(report, rollout.canary)
    steps = [one.command for one in (*rollout.shadows, rollout.canary) if one is not None and one.command]
    commands = dict.fromkeys(steps)
    report.section(
        "What to do next", text="\n\n".join([*conclusions, *(f"Run: {command}" for command in commands)])
    )
    return report


def _period(rollout: Rollout) -> str:
    if rollout.first is None or rollout.last is None:
        return f"none, {rollout.origin}"
    return f"{rollout.verdicts:,} from {rollout.first[:16]} to {rollout.last[:16]} UTC, {rollout.origin}"


def _shadow_sections(
    report: Report, shadow: ShadowFigures, active: int, thumbnails: Mapping[Disagreement, bytes | None]
) -> None:
    counts = shadow.counts
    title = f"Shadow: version {counts.version}"
    blocks: list[BarChart | DataTable] = []
    if counts.judged:
        blocks.append(_decisions_chart(shadow, active))
        if shadow.changes:
            blocks.append(_changes_table(shadow))
    if counts.failures:
        blocks.append(_reasons_table("Images that it could not judge", counts.failures))
    text = [
        f"It judged {counts.judged:,} images that version {active} decided, and failed on {counts.failed:,}. A failure "
        "is neither an agreement nor a disagreement."
    ]
    if counts.beside_others:
        text.append(f"{counts.beside_others:,} images that other versions decided are left out.")
    if counts.opinions:
        text.append(_OPINIONS_TEXT.format(count=f"{counts.opinions:,}"))
    report.section(title, *blocks, text=" ".join(text))
    if counts.samples:
        report.section(
            f"Disagreements of version {counts.version}",
            *(
                _sheet(change, samples, counts.decisions[change], thumbnails)
                for change, samples in sorted(counts.samples.items(), key=_gravest_first)
            ),
            text="The newest of each kind. Scores are those of the category that changes most, before and after.",
        )


def _gravest_first(item: tuple[Change, list[Disagreement]]) -> tuple[int, int]:
    before, after = (DECISIONS.index(decision) for decision in item[0])
    return -abs(after - before), before


def _decisions_chart(shadow: ShadowFigures, active: int) -> BarChart:
    decisions = shadow.counts.decisions
    tones = dict(zip(DECISIONS, ("allow", "review", "block"), strict=True))
    series = [
        Bars(
            decision,
            [float(sum(n for change, n in decisions.items() if change[side] == decision)) for side in (0, 1)],
            tone=tones[decision],  # type: ignore[arg-type]
        )
        for decision in DECISIONS
    ]
    labels = [f"version {active}", f"version {shadow.counts.version}"]
    return BarChart("Decisions on the same images", labels, series, x_label="images", stacked=True)


def _changes_table(shadow: ShadowFigures) -> DataTable:
    rows = [
        (
            "decision" if one.category is None else one.category,
            f"{one.before} to {one.after}",
            "stricter" if one.stricter else "milder",
            one.images,
            interval_text(one.rate),
        )
        for one in shadow.changes
    ]
    return DataTable(
        f"What changes, of {shadow.counts.judged:,} images",
        ("of", "change", "direction", "images", "share (95 %)"),
        rows,
    )


def _reasons_table(caption: str, failures: Mapping[tuple[str, str], int]) -> DataTable:
    ordered = sorted(failures.items(), key=lambda item: -item[1])
    rows = [(type, message, count) for (type, message), count in ordered]
    return DataTable(caption, ("error", "reason", "images"), rows)


def _sheet(
    change: Change,
    samples: list[Disagreement],
    total: int,
    thumbnails: Mapping[Disagreement, bytes | None],
) -> ContactSheet:
    items = [
        SheetItem(
            thumbnails.get(one),
            f"{one.source}:{one.event_id}",
            (f"{one.category}: {_score(one.score_before)} to {_score(one.score_after)}", one.decided_at[:16]),
        )
        for one in samples
    ]
    number = f"the newest {len(items)} of {total:,}" if total > len(items) else f"all {total:,}"
    return ContactSheet(f"{change[0]} to {change[1]}: {number}", items)


def _score(score: float | None) -> str:
    return "none" if score is None else f"{score:.2f}"


def _canary_section(report: Report, figures: CanaryFigures) -> None:
    counts = figures.counts
    canary, active = counts.canary, counts.active
    blocks = []
    if canary.images and active.images:
        rows = [
            (
                describe(one),
                f"{one.canary[0] / one.canary[1]:.2%}",
                f"{one.active[0] / one.active[1]:.2%}",
                interval_text(one.difference),
                f"{one.chance:.2g}",
            )
            for one in figures.differences
        ]
        columns = (
            "rate of",
            f"version {canary.version}",
            f"version {active.version}",
            "difference, points (95 %)",
            "chance",
        )
        blocks.append(DataTable(f"In the hours of both: {counts.hours:,}", columns, rows))
    for arm in (canary, active):
        if arm.failures:
            blocks.append(_reasons_table(f"Errors of version {arm.version}", arm.failures))
    text = (
        f"Version {canary.version} decides for {figures.percent:g} % of the events. In the hours compared it decided "
        f"{canary.images:,} images, version {active.version} {active.images:,}. {counts.alone:,} in other hours "
        "are left out."
    )
    report.section(f"Canary: version {canary.version}", *blocks, text=f"{text}\n\n{_CANARY_TEXT}")
