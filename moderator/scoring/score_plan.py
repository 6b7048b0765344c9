"""Lay out once per policy how the scores of its categories come from prompts, signals and one another."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from moderator.policies.calibration_schema import IsotonicCalibration, PlattCalibration
from moderator.policies.category_schema import Category
from moderator.policies.condition_parser import Condition, names_in

Indices = NDArray[np.int64]
Doubles = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class ScorePlan:
    """Index arrays of all C categories of a policy, K of which have prompts. Numbers are columns, 0 to C - 1."""

    categories: tuple[str, ...]
    columns: dict[str, int]
    """The column of each category."""
    prompts: Indices
    """[K] the categories that have prompts, in the order of the policy's layout."""
    bare: NDArray[np.bool_]
    """[K] whether the rule's score is the final one: neither a probe nor a calibration follows."""
    signals: dict[str, Indices]
    """The categories that take their scores from each signal."""
    probes: dict[str, Indices]
    """The categories beside whose words each signal goes."""
    weight: Doubles
    """[C] of that signal; 0 without one."""
    platt: Indices
    """The categories with that calibration."""
    slope: Doubles
    """[C]"""
    offset: Doubles
    """[C]"""
    isotonic: dict[int, Doubles]
    """Points [k, 2] of the categories with that calibration."""
    conditions: dict[int, Condition]
    depends: dict[str, Indices]
    """The categories whose scores depend on each signal: directly, by a probe beside words, or by a condition."""
    review: Doubles
    """[C] score from which an image goes to review; infinite if a category has no such band."""
    block: Doubles
    """[C] score from which an image is blocked; infinite if a category never blocks."""

    def depending_on(self, signals: Iterable[str]) -> set[int]:
        """Return the categories whose scores depend on any of these signals."""
        return {column for name in signals if name in self.depends for column in self.depends[name].tolist()}


def plan_scores(categories: Mapping[str, Category]) -> ScorePlan:
    """Return the plan of a policy's categories, with the thresholds that apply on an encoder."""
    columns = {name: column for column, name in enumerate(categories)}
    specs = list(categories.values())
    read: dict[str, list[int]] = {}
    beside: dict[str, list[int]] = {}
    for column, spec in enumerate(specs):
        if spec.signal is not None:
            read.setdefault(spec.signal, []).append(column)
        if spec.probe is not None:
            beside.setdefault(spec.probe.signal, []).append(column)
    conditions = {column: spec.condition for column, spec in enumerate(specs) if spec.condition is not None}
    depends: dict[str, list[int]] = {}
    for name in {*read, *beside}:
        direct = {*read.get(name, ()), *beside.get(name, ())}
        through = {
            column
            for column, condition in conditions.items()
            if any(columns[named] in direct for named in names_in(condition))
        }
        depends[name] = sorted(direct | through)
    calibrations = [spec.calibration for spec in specs]
    platt = {n: c for n, c in enumerate(calibrations) if isinstance(c, PlattCalibration)}
    return ScorePlan(
        categories=tuple(categories),
        columns=columns,
        prompts=_indices(column for column, spec in enumerate(specs) if spec.has_prompts),
        bare=np.array(
            [spec.probe is None and spec.calibration is None for spec in specs if spec.has_prompts],
            dtype=np.bool_,
        ),
        signals={name: _indices(found) for name, found in read.items()},
        probes={name: _indices(found) for name, found in beside.items()},
        weight=np.array([0.0 if spec.probe is None else spec.probe.weight for spec in specs]),
        platt=_indices(platt),
        slope=np.array([platt[n].slope if n in platt else 1.0 for n in range(len(specs))]),
        offset=np.array([platt[n].offset if n in platt else 0.0 for n in range(len(specs))]),
        isotonic={
            n: np.array(c.points) for n, c in enumerate(calibrations) if isinstance(c, IsotonicCalibration)
        },
        conditions=conditions,
        depends={name: _indices(found) for name, found in depends.items()},
        review=np.array([np.inf if spec.review is None else spec.review for spec in specs]),
        block=np.array([spec.block for spec in specs], dtype=np.float64),
    )


def _indices(columns: Iterable[int]) -> Indices:
    return np.array(list(columns), dtype=np.int64)
