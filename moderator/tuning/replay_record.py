"""The explanation of a replay as JSON values."""

from typing import Any

from moderator.policies.category_schema import Category
from moderator.tuning.replay import Replay
from moderator.verdicts import CategoryVerdict


def record_of(replay: Replay) -> dict[str, Any]:
    """Return the replay: what decided then and now, by which policy, prompts, similarities, signals and thresholds."""
    archived, compiled = replay.archived, replay.judged.compiled
    policy, now = compiled.policy, replay.judged.judgement
    difference = replay.score_difference
    return {
        "event_id": archived.event_id,
        "source": archived.source,
        "verdict_id": replay.verdict_id,
        "decided_at": archived.created_at.isoformat(),
        "image": None if archived.image is None else archived.image.sha256,
        "from": "image" if replay.from_image else "embedding",
        "policy": {"name": policy.name, "version": policy.version, "digest": policy.digest},
        "model": replay.model.model_dump(),
        "same_decision": replay.same_decision,
        "score_difference": difference if difference < float("inf") else None,
        "decision": {"archived": archived.decision.value, "replayed": now.decision.value},
        "unsafe_score": {"archived": archived.unsafe_score, "replayed": now.unsafe_score},
        "categories": {
            name: {
                **_thresholds(compiled.categories[name]),
                "archived": _facts(archived.categories.get(name)),
                "replayed": _facts(category),
            }
            for name, category in now.categories.items()
        },
        "signals": replay.judged.signals,
    }


def _thresholds(category: Category) -> dict[str, Any]:
    return {
        "review": category.review,
        "block": category.block if category.block < float("inf") else None,
        "rule": category.rule.value if category.has_prompts else None,
        "signal": category.signal,
        "when": category.when,
    }


def _facts(verdict: CategoryVerdict | None) -> dict[str, Any] | None:
    if verdict is None:
        return None
    view = verdict.view
    return {
        "score": verdict.score,
        "decision": verdict.decision.value,
        "decided_by": verdict.decided_by,
        "view": None
        if view is None
        else {"name": view.name, "frame": view.frame, "box": view.box, "turn": view.turn},
        "prompts": [
            {
                "prompt": top.prompt,
                "side": top.side,
                "similarity": top.similarity,
                "probability": top.probability,
            }
            for top in verdict.top_prompts
        ],
    }
