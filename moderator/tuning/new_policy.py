"""From words to the first text of a policy, or to the text of its next version."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from moderator.engine.judge import PolicyCompiler
from moderator.policies.category_schema import Category, Rule
from moderator.policies.fields import same_text
from moderator.policies.loader import parse_policy
from moderator.policies.policy_text import Keys, document_text, edit_policy
from moderator.policies.schema import Policy
from moderator.scoring.rules import Floats
from moderator.tuning.hard_negatives import propose_hard_negatives, synonym_likeness
from moderator.tuning.vocabulary import full_vocabulary, likeness, typical_cosine

#: What most pictures of most services show. Those that are near to an unsafe prompt are left out.
ORDINARY = (
    "a portrait of a person",
    "a group of people",
    "a plate of food",
    "a bottle of water",
    "clothing on a hanger",
    "shoes",
    "a room with furniture",
    "a street with buildings",
    "a car",
    "a landscape",
    "a flower",
    "a stuffed toy animal",
    "a page of text",
    "a cartoon",
    "a tree",
    "a computer",
)


@dataclass
class CategoryWords:
    """The words for one category."""

    unsafe: list[str] = field(default_factory=list)
    safe: list[str] = field(default_factory=list)
    proposed: list[str] = field(default_factory=list)
    """Those of `safe` that were proposed."""


@dataclass
class PolicyWords:
    """The words from which a draft is written. An empty one changes nothing in the version that it starts from."""

    name: str
    description: str = ""
    templates: tuple[str, ...] = ()
    safe: list[str] = field(default_factory=list)
    categories: dict[str, CategoryWords] = field(default_factory=dict)
    review: float | None = None
    block: float | str | None = None

    def category(self, name: str) -> CategoryWords:
        """Return the words of a category, which begins to exist."""
        return self.categories.setdefault(name, CategoryWords())


def category_name(text: str) -> str:
    """Return words in the form of a category's name: `Live animals` as `live-animals`."""
    return re.sub(r"[^a-z0-9]+", "-", text.casefold()).strip("-")


class Proposals:
    """Proposes safe prompts by an encoder.

    Args:
        compiler: embeds prompts.
        templates: into which the policy puts its prompts.
        count: of hard negatives for a category, at most.
    """

    def __init__(self, compiler: PolicyCompiler, templates: Sequence[str], count: int) -> None:
        self._compiler = compiler
        self._templates = tuple(templates)
        self._count = count

    def hard_negatives(self, unsafe: Sequence[str], safe: Sequence[str]) -> list[str]:
        """Return texts that may be mistaken for what is not allowed and are something else, the nearest first.

        Args:
            unsafe: prompts of a category, at least one.
            safe: prompts beside which they will be scored already.
        """
        rows = self._embed([*unsafe, *safe])
        vocabulary = full_vocabulary(self._compiler, self._templates)
        return propose_hard_negatives(
            unsafe, rows[: len(unsafe)], rows[len(unsafe) :], vocabulary, self._count
        )

    def ordinary(self, unsafe: Sequence[str]) -> list[str]:
        """Return what ordinary pictures show, without what any of the unsafe prompts may mean."""
        typical = typical_cosine(full_vocabulary(self._compiler, self._templates).matrix)
        rows = self._embed([*unsafe, *ORDINARY])
        wanted = rows[: len(unsafe)]
        near = likeness(rows[len(unsafe) :] @ wanted.T, typical).max(axis=1)
        same = synonym_likeness(wanted, typical)
        return [text for text, likely in zip(ORDINARY, near.tolist(), strict=True) if likely < same]

    def _embed(self, texts: Sequence[str]) -> Floats:
        distinct = list({same_text(text): text for text in texts}.values())
        category = Category(unsafe=tuple(distinct), rule=Rule.SIGMOID)
        policy = Policy(name="words", version=1, templates=self._templates, categories={"all": category})
        compiled = self._compiler.compile(policy)
        row_of = {same_text(text): row for row, text in enumerate(compiled.layout.prompts)}
        return compiled.matrix[[row_of[same_text(" ".join(text.split()))] for text in texts]]


def first_text(words: PolicyWords) -> str:
    """Return the text of the first version of a policy.

    Raises:
        PolicyInvalid: the words make no valid policy.
    """
    content = {
        "name": words.name,
        "version": 1,
        "description": words.description or None,
        "templates": words.templates or None,
        "safe": words.safe or None,
        "categories": {
            name: {
                "unsafe": one.unsafe,
                "safe": one.safe or None,
                "rule": Rule.SOFTMAX_SUM.value,
                "review": words.review,
                "block": words.block,
            }
            for name, one in words.categories.items()
        },
    }
    text = document_text(content)
    parse_policy(text, f"{words.name}/1.yaml")
    return text


def next_text(base_text: str, words: PolicyWords) -> str:
    """Return the text of a policy with the words added to it, and its comments kept.

    Raises:
        PolicyInvalid: either text is no valid policy.
    """
    base = parse_policy(base_text)
    changes: dict[Keys, object] = {}
    if words.description:
        changes["description",] = words.description
    if words.templates:
        changes["templates",] = words.templates
    if words.safe:
        changes["safe",] = [*base.safe, *_new(words.safe, base.safe)]
    for name, one in words.categories.items():
        before = base.categories.get(name)
        for key, added in (("unsafe", one.unsafe), ("safe", one.safe)):
            known = getattr(before, key) if before else ()
            if added:
                changes["categories", name, key] = [*known, *_new(added, known)]
    for name in (words.categories or base.categories) if words.review or words.block else ():
        for key, value in (("review", words.review), ("block", words.block)):
            if value is not None:
                changes["categories", name, key] = value
    text = edit_policy(base_text, changes)
    parse_policy(text, f"{base.name}/{base.version}.yaml with the changes")
    return text


def _new(added: Sequence[str], known: Sequence[str]) -> list[str]:
    there = {same_text(text) for text in known}
    return [text for text in added if same_text(text) not in there]
