"""Find in a policy what only an encoder shows: prompts that mean the same to it, contradict, are cut, or reach nothing.

Pure: the caller embeds, and judges the sample of images.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from moderator.policies.category_schema import Category, Rule
from moderator.policies.fields import NEVER, fill
from moderator.policies.lint_finding import LintFinding, Severity
from moderator.policies.schema import Policy
from moderator.policies.threshold_lint import score_range
from moderator.policies.yaml_reader import KeyPath
from moderator.scoring.batch_decisions import BatchDecisions, ImageBlock, decide_block
from moderator.scoring.rules import Floats
from moderator.scoring.thresholds import CompiledPolicy
from moderator.tuning.vocabulary import likeness

#: Likeness (0: nothing in common, 1: the same text) from which two prompts of a side are near-duplicates, from which an
#: unsafe and a safe one contradict each other, and from which a safe one may stand on the wrong side. The most alike
#: prompts of the shipped policies have 0.88 and 0.66.
DUPLICATE_LIKENESS = 0.9
CONTRADICTION_LIKENESS = 0.75
WRONG_SIDE_LIKENESS = 0.4


@dataclass(frozen=True)
class _Side:
    """The prompts of one side of a category, with their places in the file and in the compiled matrix."""

    paths: tuple[KeyPath, ...]
    texts: tuple[str, ...]
    rows: NDArray[np.int64]


def text_findings(compiled: CompiledPolicy, typical: float) -> Iterator[LintFinding]:
    """Yield what is probably wrong with the prompts and thresholds of a policy, by the embeddings of its prompts.

    Args:
        compiled: the policy on an encoder.
        typical: cosine of two texts that have nothing in common; see `vocabulary.typical_cosine`.
    """
    policy = compiled.policy
    row_of = {text: row for row, text in enumerate(compiled.layout.prompts)}
    alike = likeness(compiled.matrix @ compiled.matrix.T, typical)
    shared = _side([("safe", n) for n in range(len(policy.safe))], policy.safe, row_of)
    seen: set[frozenset[str]] = set()
    yield from _duplicates(shared, alike, seen)
    for name, category in compiled.categories.items():
        if not category.has_prompts:
            continue
        path: KeyPath = ("categories", name)
        unsafe = _side([(*path, "unsafe", n) for n in range(len(category.unsafe))], category.unsafe, row_of)
        own = _side([(*path, "safe", n) for n in range(len(category.safe))], category.safe, row_of)
        safe = _Side(
            (*shared.paths, *own.paths), (*shared.texts, *own.texts), np.concatenate([shared.rows, own.rows])
        )
        yield from _duplicates(unsafe, alike, seen)
        yield from _duplicates(safe, alike, seen)
        yield from _wrong_sides(unsafe, safe, alike)
        if category.rule is Rule.SIGMOID and compiled.bias == 0:
            message = (
                "sigmoid reads one similarity as a probability, and this encoder was not trained for that: nearly "
                "every picture scores 1; use softmax-sum with safe prompts, or a SigLIP encoder"
            )
            yield LintFinding((*path, "rule"), Severity.WARNING, message)
    yield from _out_of_reach(compiled)


def cut_findings(policy: Policy, truncated: Callable[[Sequence[str]], list[str]]) -> Iterator[LintFinding]:
    """Yield the prompts of which an encoder does not read the end.

    Args:
        policy: with prompts.
        truncated: returns those of some texts that it cuts; see `Encoder.truncated`.
    """
    longest = max(policy.templates, key=len)
    places: list[tuple[KeyPath, str]] = [(("safe", n), text) for n, text in enumerate(policy.safe)]
    for name, category in policy.categories.items():
        for key, texts in (("unsafe", category.unsafe), ("safe", category.safe)):
            places += [(("categories", name, key, n), text) for n, text in enumerate(texts)]
    cut = set(truncated([fill(longest, text) for _, text in places]))
    for path, text in places:
        if fill(longest, text) in cut:
            message = (
                f"'{text}' is longer than the model reads, so its end changes nothing; shorten or split it"
            )
            yield LintFinding(path, Severity.WARNING, message)


def sample_findings(compiled: CompiledPolicy, decisions: BatchDecisions) -> Iterator[LintFinding]:
    """Yield the categories whose thresholds no picture of a sample reaches.

    Args:
        compiled: the policy that decided.
        decisions: its decisions on the sample.
    """
    for column, name in enumerate(decisions.categories):
        scores = decisions.scores[:, column]
        scores = scores[~np.isnan(scores)]
        category = compiled.categories[name]
        lowest = category.block if category.review is None else category.review
        if not len(scores) or lowest == NEVER or scores.max() >= lowest:
            continue
        message = (
            f"no picture of the sample reaches it: the highest score of {len(scores)} is {scores.max():.2f}, and "
            f"{lowest:g} is needed; if it holds such pictures, lower the threshold or describe better what they show"
        )
        yield LintFinding(("categories", name), Severity.HINT, message)


def _side(paths: Sequence[KeyPath], texts: Sequence[str], row_of: dict[str, int]) -> _Side:
    # A shared prompt that no category with prompts uses has no row.
    kept = [(path, text) for path, text in zip(paths, texts, strict=True) if text in row_of]
    rows = np.array([row_of[text] for _, text in kept], dtype=np.int64)
    return _Side(tuple(path for path, _ in kept), tuple(text for _, text in kept), rows)


def _duplicates(side: _Side, alike: Floats, seen: set[frozenset[str]]) -> Iterator[LintFinding]:
    """Yield the prompts that are nearly the same as one before them; each pair once for a policy."""
    near = np.argwhere(np.triu(alike[np.ix_(side.rows, side.rows)] >= DUPLICATE_LIKENESS, 1))
    for first, second in near.tolist():
        pair = frozenset((side.texts[first], side.texts[second]))
        if len(pair) < 2 or pair in seen:
            continue  # the same text in two places: the pure lint reports it
        seen.add(pair)
        likely = alike[side.rows[first], side.rows[second]]
        message = (
            f"'{side.texts[second]}' and '{side.texts[first]}' mean the same to the model (likeness {likely:.2f}), so "
            "one of them changes little; remove it, or describe something else"
        )
        yield LintFinding(side.paths[second], Severity.HINT, message)


def _wrong_sides(unsafe: _Side, safe: _Side, alike: Floats) -> Iterator[LintFinding]:
    """Yield the safe prompts that contradict an unsafe one, or are nearer to one than the kinds of both are."""
    if not len(safe.rows):
        return
    across = alike[np.ix_(safe.rows, unsafe.rows)]
    among_safe, among_unsafe = _nearest_others(alike, safe.rows), _nearest_others(alike, unsafe.rows)
    for n, row in enumerate(across):
        m = int(row.argmax())
        likely, text, other = float(row[m]), safe.texts[n], unsafe.texts[m]
        if text == other:
            continue  # the pure lint reports it as an error
        if likely >= CONTRADICTION_LIKENESS:
            message = (
                f"'{text}' is safe and '{other}' is not, and they mean the same to the model (likeness {likely:.2f}): "
                "pictures of one score like the other; remove one of them, or say what is different to see"
            )
            yield LintFinding(safe.paths[n], Severity.WARNING, message)
        elif likely >= WRONG_SIDE_LIKENESS and likely > among_safe[n] and likely > among_unsafe[m]:
            message = (
                f"'{text}' is nearer to the unsafe '{other}' (likeness {likely:.2f}) than either is to its own side, "
                "so it takes from the score of such pictures; compare with and without it on labelled images"
            )
            yield LintFinding(safe.paths[n], Severity.HINT, message)


def _nearest_others(alike: Floats, rows: NDArray[np.int64]) -> Floats:
    """Return the likeness of each prompt of a side to the nearest other one; minus infinity for the only one."""
    among = alike[np.ix_(rows, rows)].copy()
    among[rows[:, None] == rows] = -np.inf
    nearest: Floats = among.max(axis=1)
    return nearest


def _out_of_reach(compiled: CompiledPolicy) -> Iterator[LintFinding]:
    """Yield the thresholds that even the unsafe prompts would not reach if they were pictures."""
    if not compiled.layout.categories:
        return
    count = len(compiled.matrix)
    scores = decide_block(compiled, ImageBlock(compiled.matrix, np.arange(count + 1))).scores
    row_of = {text: row for row, text in enumerate(compiled.layout.prompts)}
    for column, (name, category) in enumerate(compiled.categories.items()):
        own = (
            scores[[row_of[text] for text in category.unsafe], column]
            if category.has_prompts
            else scores[:0, 0]
        )
        if not len(own) or np.isnan(own).all():  # a probe beside the words reads pictures alone
            continue
        highest = score_range(category, compiled.categories)[1]
        yield from _too_high(("categories", name), category, float(np.nanmax(own)), highest)


def _too_high(path: KeyPath, category: Category, reached: float, highest: float) -> Iterator[LintFinding]:
    for key, threshold in (("review", category.review), ("block", category.block)):
        # Beyond the highest score that the rule has, the pure lint says so.
        if threshold is None or threshold == NEVER or threshold > highest or threshold <= reached:
            continue
        message = (
            f"{key} {threshold:g} is out of reach: even the unsafe prompts themselves, taken for pictures, score "
            f"{reached:.2f} at most; lower it, or remove safe prompts that are too near to them"
        )
        yield LintFinding((*path, key), Severity.WARNING, message)
