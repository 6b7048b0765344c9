"""The keys of a policy that a tuning changes, and the files of its probes. Pure."""

from collections.abc import Mapping
from hashlib import sha256
from typing import Any

import numpy as np

from moderator.policies.calibration_schema import Calibration
from moderator.policies.category_schema import Category
from moderator.policies.schema import Policy
from moderator.tuning.calibration import fit_isotonic, fit_platt
from moderator.tuning.rank_objective import Flags, Floats
from moderator.tuning.tuning_bench import TuningBench
from moderator.tuning.tuning_fit import TuningFit
from moderator.tuning.tuning_scales import scale_at


def draft_changes(
    bench: TuningBench,
    fitted: TuningFit,
    held: Floats,
    chosen: Flags,
    cuts: list[float | None],
    calibrate: str | None,
) -> tuple[dict[tuple[str, ...], object], dict[str, bytes], dict[str, Floats]]:
    """Return the changed keys of the policy, the files of its probes, and the scores of these for all images."""
    policy, changes = bench.policy, dict[tuple[str, ...], object]()
    if fitted.templates != policy.templates:
        changes["templates",] = list(fitted.templates)
    signals: list[Any] = [signal.model_dump(mode="json", exclude_none=True) for signal in policy.signals]
    scales, files, probes = {}, dict[str, bytes](), dict[str, Floats]()
    for column, (name, spec) in enumerate(bench.categories.items()):
        tuned = fitted.categories[name]
        if tuned.search is not None:
            changes["categories", name, "unsafe"] = list(tuned.unsafe)
            changes["categories", name, "safe"] = list(tuned.safe) or None
        if tuned.probe is not None:
            probe = tuned.probe.as_probe(name, bench.images.identity)
            content = probe.serialized()
            digest = sha256(content).hexdigest()
            file = f"{policy.name}/{name}-{digest[:12]}.safetensors"
            signal = f"{name[:48]}-probe-{digest[:6]}"
            signals.append(
                {"name": signal, "kind": "probe", "file": file, "sha256": digest, "unsafe": [name]}
            )
            changes["categories", name, "probe"] = {"signal": signal, "weight": tuned.probe.weight}
            files[file] = content
            views = bench.rows
            unsafe = probe.probabilities(views.embeddings.astype(np.float32))[:, 0]
            probes[signal] = np.maximum.reduceat(unsafe, views.starts[:-1]).astype(np.float64)
        cut = cuts[column]
        if cut is not None:
            weight = 0.0 if tuned.probe is None else tuned.probe.weight
            calibration = _calibration(calibrate, spec, held[chosen, column], bench.truth[chosen, column])
            scale = scale_at(spec, cut, weight, calibration)
            scales[name] = scale.model_dump(mode="json", exclude_defaults=True)
    if files:
        changes["signals",] = signals
    identity = bench.images.identity
    entry = {
        "id": identity.id,
        "revision": identity.revision,
        "preprocessing": identity.preprocessing,
        "categories": scales,
    }
    if scales:
        changes["encoders",] = [*kept_scales(bench, fitted), entry]
    return changes, files, probes


def _calibration(kind: str | None, spec: Category, odds: Floats, truth: Flags) -> Calibration | None:
    possible = spec.signal is not None or (spec.has_prompts and spec.rule.is_relative)
    if kind is None or not possible or not truth.any() or truth.all():
        return None
    return fit_platt(odds, truth) if kind == "platt" else fit_isotonic(odds, truth)


def kept_scales(bench: TuningBench, fitted: TuningFit) -> list[dict[str, Any]]:
    """Return the scales of other encoders, unless they were measured with other prompts."""
    moved = fitted.templates != bench.policy.templates or any(
        tuned.search is not None or tuned.probe is not None for tuned in fitted.categories.values()
    )
    if moved:
        return []
    return [
        scales.model_dump(mode="json")
        for scales in bench.policy.encoders
        if scales.identity != bench.images.identity
    ]


def changed_fields(policy: Policy, changes: Mapping[tuple[str, ...], object]) -> dict[str, Any]:
    """Return the fields of a policy with some keys changed."""
    fields: dict[str, Any] = {key[0]: value for key, value in changes.items() if len(key) == 1}
    categories = {
        name: {key: getattr(spec, key) for key in spec.model_fields_set}
        for name, spec in policy.categories.items()
    }
    for key, value in changes.items():
        if len(key) == 3:
            categories[key[1]][key[2]] = value if value is not None else ()
    return {**fields, "categories": categories}
