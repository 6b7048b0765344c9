"""Fit the prompts, templates and probes of a policy to some of the labelled images, and apply them to all. Pure."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from moderator.tuning.data_splits import deal
from moderator.tuning.few_shot import FewShot, enough, learn
from moderator.tuning.prompt_search import SearchOutcome, accepted, search_prompts
from moderator.tuning.rank_objective import separation
from moderator.tuning.tuning_bench import Floats, Templates, TuningBench

Flags = NDArray[np.bool_]

#: Sets of templates that are compared with the policy's own.
TEMPLATE_SETS: tuple[Templates, ...] = (
    ("{}",),
    ("{}", "a photo of {}"),
    ("{}", "a photo of {}", "a close-up photo of {}"),
)
#: Fewest examples of a category by which its prompts are searched.
SEARCHED_EXAMPLES_MIN = 20
FOLDS = 5


@dataclass(frozen=True)
class TuningOptions:
    """What a tuning may change besides thresholds."""

    prompts: bool = False
    probe: bool = False
    seed: int = 0


@dataclass(frozen=True, eq=False)
class TunedCategory:
    """What was found for one category."""

    unsafe: tuple[str, ...]
    safe: tuple[str, ...]
    """Its own safe prompts."""
    search: SearchOutcome | None = None
    probe: FewShot | None = None


@dataclass(frozen=True, eq=False)
class TuningFit:
    """What was fitted to some images, applied to all n."""

    templates: Templates
    odds: Floats
    """[n, C] log-odds without midpoint and calibration; of images it was fitted to, too good if there are probes."""
    categories: dict[str, TunedCategory] = field(default_factory=dict)
    tried: int = 0


def fit_policy(bench: TuningBench, options: TuningOptions, images: Flags) -> TuningFit:
    """Fit a policy to some of the images.

    Args:
        bench: the policy and n images.
        options: what may change.
        images: bool [n], those that are looked at.
    """
    folds = folds_of(bench, images, options.seed)
    templates, tried = choose_templates(bench, images) if options.prompts else (bench.policy.templates, 0)
    odds = bench.bare_odds(templates).copy()
    categories = {}
    for column, name in enumerate(bench.categories):
        truth = bench.truth[:, column]
        spec = bench.categories[name]
        tuned = TunedCategory(spec.unsafe, spec.safe)
        if options.prompts and bench.searchable(name) and truth[images].sum() >= SEARCHED_EXAMPLES_MIN:
            text_table = bench.table(templates, name)
            outcome = search_prompts(
                text_table.table.subset(images),
                truth[images],
                bench.sides(name, text_table),
                bench.proposer(name, text_table),
                folds,
            )
            tried += outcome.tried
            sides, texts = outcome.sides, text_table.texts
            if outcome.gain:
                odds[:, column] = text_table.table.log_odds(sides)
                unsafe = tuple(texts[n] for n in sides.unsafe)
                tuned = TunedCategory(unsafe, tuple(texts[n] for n in sides.safe), outcome)
        movable = spec.has_prompts and spec.rule.is_relative
        if options.probe and movable and enough(truth[images], folds):
            rows = bench.rows.subset(images)
            probe, count = learn(rows, truth[images], odds[images, column], folds)
            tried += count
            odds[:, column] = probe.joined(bench.rows, odds[:, column])
            tuned = TunedCategory(tuned.unsafe, tuned.safe, tuned.search, probe)
        categories[name] = tuned
    return TuningFit(templates, odds, categories, tried)


def folds_of(bench: TuningBench, images: Flags, seed: int) -> NDArray[np.int64]:
    """Return the fold of each of some images; copies share one."""
    _, first, inverse = np.unique(bench.copies[images], return_index=True, return_inverse=True)
    return deal(bench.strata[images], first[inverse], FOLDS, seed)


def choose_templates(bench: TuningBench, images: Flags) -> tuple[Templates, int]:
    """Return the templates that separate the positives of all categories best, and how many sets were compared.

    The policy's own stay unless others are accepted.
    """
    own = tuple(bench.policy.templates)
    sets = [own, *(templates for templates in TEMPLATE_SETS if templates != own)]
    names = [
        (column, name)
        for column, name in enumerate(bench.categories)
        if bench.searchable(name) and bench.truth[images, column].sum() >= SEARCHED_EXAMPLES_MIN
    ]
    if not names:
        return own, 0
    quality = []
    for templates in sets:
        odds = bench.bare_odds(templates)[images]
        truth = bench.truth[images]
        quality.append(
            np.concatenate([separation(odds[:, [column]], truth[:, column])[:, 0] for column, _ in names])
        )
    differences = np.stack(quality, axis=1) - quality[0][:, None]
    best, _, _ = accepted(differences)
    return sets[best], len(sets)


def cross_fitted_odds(bench: TuningBench, options: TuningOptions, images: Flags) -> tuple[Floats, int]:
    """Return log-odds of the images, each by a fit that did not look at it: [n, C], NaN elsewhere.

    Also returns how much these fits tried: what they compare makes the estimate honest, and is not part of the choice.
    """
    odds = np.full(bench.truth.shape, np.nan)
    tried = 0
    numbers = np.flatnonzero(images)
    folds = folds_of(bench, images, options.seed + 1)
    for fold in np.unique(folds):
        looked_at = images.copy()
        looked_at[numbers[folds == fold]] = False
        fitted = fit_policy(bench, options, looked_at)
        tried += fitted.tried
        held = images & ~looked_at
        odds[held] = fitted.odds[held]
    return odds, tried
