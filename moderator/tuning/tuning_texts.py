"""What a tuning found, in words: for the terminal, the note at the top of the draft, and programs. Pure."""

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from moderator.printable import printable
from moderator.tuning.evaluation_texts import MISSING, percent
from moderator.tuning.macro_recall import MacroRecall
from moderator.tuning.tuning_run import CategoryTuning, TuningResult

#: Prompts that a note names of each kind of change.
_NAMED_MAX = 6


def macro_text(recall: MacroRecall) -> str:
    """Return the figure with its interval, such as `92.1 % (87.0–95.4)`."""
    if recall.value is None or recall.low is None or recall.high is None:
        return MISSING
    return f"{percent(recall.value, 1)} ({100 * recall.low:.1f}–{100 * recall.high:.1f})"


def changes_of(category: CategoryTuning) -> list[str]:
    """Return what changed in a category besides its thresholds, one sentence for each kind of change."""
    kinds = (
        ("unsafe, added", category.unsafe_added),
        ("unsafe, removed", category.unsafe_removed),
        ("safe, added", category.safe_added),
        ("safe, removed", category.safe_removed),
    )
    lines = []
    for kind, prompts in kinds:
        if prompts:
            more = f" and {len(prompts) - _NAMED_MAX} more" if len(prompts) > _NAMED_MAX else ""
            lines.append(f"{kind}: {'; '.join(prompts[:_NAMED_MAX])}{more}")
    if category.probe is not None:
        lines.append(f"a probe with weight {category.probe[1]:g}")
    return lines


def sentences(result: TuningResult) -> Iterator[str]:
    """Yield what a reader should know first."""
    yield (
        f"Chosen on {result.chosen:,} images, reported on {result.reported:,} others; "
        f"{result.tried:,} combinations of prompts, templates and probes were compared."
    )
    yield (
        f"Found where 5 % of other images are flagged, mean over categories: {macro_text(result.before)} before, "
        f"{macro_text(result.after)} now. Estimated from the images for choosing alone: {macro_text(result.estimated)}."
    )
    yield (
        f"Safe images that any category flags: {percent(result.safe_before.value, 1)} before, "
        f"{percent(result.safe_after.value, 1)} now."
    )
    if result.others_dropped:
        yield "Thresholds of other encoders are left out: they were measured with other prompts."


def note_of(result: TuningResult, base: str, data: str, seed: int, encoder: str) -> str:
    """Return the note at the top of a draft."""
    parts = [
        f"made from {base} by moderator policy tune, for {result.target.text} on {printable(data)}, seed {seed}, "
        f"encoder {encoder}.",
        *sentences(result),
        *(
            f"{name}: {'. '.join(changes)}."
            for name, category in result.categories.items()
            if (changes := changes_of(category))
        ),
    ]
    return " ".join(parts)


def record_of_tuning(result: TuningResult) -> dict[str, Any]:
    """Return a tuning as values that JSON can carry."""
    return {
        "target": result.target.text,
        "templates": list(result.templates),
        "chosen": result.chosen,
        "reported": result.reported,
        "tried": result.tried,
        "macro_recall_at_5fpr": {
            "before": asdict(result.before),
            "after": asdict(result.after),
            "estimated": asdict(result.estimated),
        },
        "safe_flagged": {"before": asdict(result.safe_before), "after": asdict(result.safe_after)},
        "others_dropped": result.others_dropped,
        "categories": {name: asdict(category) for name, category in result.categories.items()},
        "files": list(result.files),
    }
