"""Find what is valid in a policy but probably a mistake. Pure."""

import re
from collections.abc import Iterator, Mapping

from moderator.errors import SignalFailed
from moderator.policies.category_schema import Category
from moderator.policies.characters import named, odd_in_prompt
from moderator.policies.fields import NEVER, SLOT, same_text
from moderator.policies.lint_finding import LintFinding, Severity
from moderator.policies.schema import Policy
from moderator.policies.signal_schema import SignalEntry
from moderator.policies.threshold_lint import lint_conditions, lint_thresholds, used_in_conditions
from moderator.policies.yaml_reader import KeyPath
from moderator.signals.words import WordList

#: The kind of signal that is asked about images in review.
SECOND_OPINION = "second-opinion"

# CLIP-family text towers read "no gun" as something about a gun.
_NEGATION = re.compile(r"\b(no|not|without|never|isn't|aren't|doesn't)\b", re.IGNORECASE)


def lint(policy: Policy) -> tuple[LintFinding, ...]:
    """Return all findings of a policy: on its prompts and signals, by category, then on its thresholds."""
    findings = [*_unseen(("templates",), policy.templates), *_prompts(("safe",), policy.safe)]
    used = {category.signal for category in policy.categories.values()}
    used |= {category.probe.signal for category in policy.categories.values() if category.probe is not None}
    named = used_in_conditions(policy)
    for n, signal in enumerate(policy.signals):
        if signal.name not in used and not signal.options.get("clears"):
            message = f"no category uses '{signal.name}', so it is read and decides nothing; use or remove it"
            findings.append(LintFinding(("signals", n), Severity.WARNING, message))
        findings += _words(("signals", n), signal)
        if signal.kind == SECOND_OPINION:
            findings += _second_opinion(("signals", n), policy, signal)
    for name, category in policy.categories.items():
        path: KeyPath = ("categories", name)
        if category.block == NEVER and category.review is None and name not in named:
            message = "never blocks and sends nothing to people, so it decides nothing; add 'review:'"
            findings.append(LintFinding((*path, "block"), Severity.WARNING, message))
        if category.message is not None:
            findings += _unseen((*path, "message"), (category.message,))
        if not category.has_prompts:
            continue
        findings += _prompts((*path, "unsafe"), category.unsafe)
        findings += _prompts((*path, "safe"), category.safe)
        findings += _both_sides(path, policy, category)
        findings += _numbers(path, policy, category)
    return (*findings, *lint_thresholds(policy), *lint_conditions(policy))


def _prompts(path: KeyPath, prompts: tuple[str, ...]) -> Iterator[LintFinding]:
    for n, prompt in enumerate(prompts):
        if SLOT in prompt:
            message = f"'{prompt}' contains {SLOT}, which means nothing in a prompt; move it to templates"
            yield LintFinding((*path, n), Severity.WARNING, message)
        if negation := _NEGATION.search(prompt):
            message = (
                f"'{prompt}': the model does not understand '{negation[0]}' and sees what it denies; "
                "say what is in the picture instead"
            )
            yield LintFinding((*path, n), Severity.HINT, message)
    yield from _unseen(path, prompts)


def _unseen(path: KeyPath, texts: tuple[str, ...]) -> Iterator[LintFinding]:
    for n, text in enumerate(texts):
        if (odd := odd_in_prompt(text)) is not None:
            place, character = odd
            message = (
                f"'{text}' contains the invisible character {named(character)} at character {place} of the text, and "
                "the model reads it; remove it"
            )
            yield LintFinding((*path, n), Severity.WARNING, message)


def _both_sides(path: KeyPath, policy: Policy, category: Category) -> Iterator[LintFinding]:
    own = {same_text(prompt) for prompt in category.safe}
    shared = {same_text(prompt) for prompt in policy.safe}
    for n, prompt in enumerate(category.unsafe):
        if same_text(prompt) in own | shared:
            where = "this category's" if same_text(prompt) in own else "the policy's"
            message = f"'{prompt}' is unsafe here and in {where} safe list; remove it from one of them"
            yield LintFinding((*path, "unsafe", n), Severity.ERROR, message)
    for n, prompt in enumerate(category.safe):
        if same_text(prompt) in shared:
            message = f"'{prompt}' is in the policy's safe list already; remove it here"
            yield LintFinding((*path, "safe", n), Severity.HINT, message)


def _words(path: KeyPath, signal: SignalEntry) -> Iterator[LintFinding]:
    """Yield words that the signal `text` cannot search for: every image would fail. Files are not read here."""
    words = signal.options.get("words") or []
    if signal.kind == "text" and (words or signal.file is None):
        assert isinstance(words, list | tuple)  # the loader has checked the options of the kind
        try:
            WordList(map(str, words))
        except SignalFailed as error:
            yield LintFinding(path, Severity.ERROR, f"'{signal.name}': {error}")


def _second_opinion(path: KeyPath, policy: Policy, signal: SignalEntry) -> Iterator[LintFinding]:
    """Yield what a second opinion is never asked, and categories that it names and that do not exist."""
    for key in ("questions", "clears"):
        named = signal.options.get(key) or {}
        assert isinstance(named, Mapping)  # the loader has checked the options of the kind
        for name in named:
            category = policy.categories.get(name)
            if category is None or category.signal == signal.name:
                message = (
                    f"'{signal.name}' cannot be asked about '{name}'; name another category of the policy"
                )
                yield LintFinding((*path, key), Severity.ERROR, message)
    asked = [category for category in policy.categories.values() if category.signal != signal.name]
    if all(category.review is None for category in asked):
        message = f"'{signal.name}' is never asked: no other category sends anything to people; add 'review:'"
        yield LintFinding(path, Severity.WARNING, message)


def _numbers(path: KeyPath, policy: Policy, category: Category) -> Iterator[LintFinding]:
    if len(category.unsafe) < 2:
        message = "has one unsafe prompt; two or more wordings find more of what is meant"
        yield LintFinding((*path, "unsafe"), Severity.HINT, message)
    if category.rule.needs_safe and len({*policy.safe, *category.safe}) < 3:
        message = (
            f"{category.rule} has fewer than three safe prompts to compare with, so unrelated images score "
            "high; add some to 'safe' here or at the top of the file"
        )
        yield LintFinding((*path, "safe"), Severity.HINT, message)
