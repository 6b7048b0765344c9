"""The promotion report of a policy as JSON. Pure."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from moderator.tuning.rollout import ArmCounts
from moderator.tuning.rollout_figures import CanaryFigures, Rollout, ShadowFigures


def rollout_record(rollout: Rollout) -> dict[str, Any]:
    """Return a report as JSON has it."""
    return {
        "policy": rollout.policy,
        "active": rollout.active,
        "source": rollout.origin,
        "verdicts": rollout.verdicts,
        "first": rollout.first,
        "last": rollout.last,
        "shadows": [_shadow_record(one) for one in rollout.shadows],
        "canary": None if rollout.canary is None else _canary_record(rollout.canary),
        "notes": list(rollout.notes),
    }


def _shadow_record(figures: ShadowFigures) -> dict[str, Any]:
    counts = figures.counts
    return {
        "version": counts.version,
        "judged": counts.judged,
        "failed": counts.failed,
        "changed": {"images": counts.changed, **asdict(figures.changed)},
        "failures": _reasons(counts.failures),
        "changes": [
            {
                "category": one.category,
                "before": one.before,
                "after": one.after,
                "stricter": one.stricter,
                "images": one.images,
                **asdict(one.rate),
            }
            for one in figures.changes
        ],
        "decided_by_other_versions": counts.beside_others,
        "second_opinions": counts.opinions,
        "samples": [asdict(one) for samples in counts.samples.values() for one in samples],
        "conclusion": figures.sentence,
        "next": figures.command,
    }


def _canary_record(figures: CanaryFigures) -> dict[str, Any]:
    counts = figures.counts
    return {
        "version": counts.canary.version,
        "percent": figures.percent,
        "hours": counts.hours,
        "left_out": counts.alone,
        "canary": _arm_record(counts.canary),
        "active": _arm_record(counts.active),
        "differences": [
            {
                "category": one.category,
                "decision": one.decision,
                "canary": one.canary[0],
                "active": one.active[0],
                **asdict(one.difference),
                "p": one.chance,
            }
            for one in figures.differences
        ],
        "conclusion": figures.sentence,
        "next": figures.command,
    }


def _arm_record(arm: ArmCounts) -> dict[str, Any]:
    return {"images": arm.images, "decisions": dict(arm.decisions), "failures": _reasons(arm.failures)}


def _reasons(failures: Mapping[tuple[str, str], int]) -> list[dict[str, Any]]:
    ordered = sorted(failures.items(), key=lambda item: -item[1])
    return [{"type": type, "message": message, "images": count} for (type, message), count in ordered]
