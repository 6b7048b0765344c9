"""The policy file format, as pure immutable data. No I/O, no YAML.

What a policy *means* (how similarities become scores) is defined in `moderator.scoring`; this module defines
what a file may contain and what a version's digest covers.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from functools import cached_property
from itertools import chain, islice
from typing import Annotated, Any, Self

from pydantic import (
    Field,
    ValidationError,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    field_validator,
    model_validator,
)
from pydantic_core import InitErrorDetails, PydanticCustomError

from moderator.identity import Identity
from moderator.policies.category_references import CategoryHints, condition_problems, signal_problems
from moderator.policies.category_schema import PROMPT_KEYS, Category, Rule
from moderator.policies.encoder_scales import EncoderScales
from moderator.policies.fields import (
    MAX_CATEGORIES,
    MAX_DESCRIPTION,
    MAX_ENCODERS,
    MAX_PROBLEMS,
    MAX_PROMPTS,
    MAX_SIGNALS,
    NO_SHIFT,
    SLOT,
    Frozen,
    Located,
    Prompts,
    Slug,
    Templates,
    Version,
    policy_error,
    refuse,
)
from moderator.policies.signal_schema import SignalEntry
from moderator.policies.view_options import ViewOptions
from moderator.view import ViewPlan


class Policy(Frozen):
    """One version of a policy: the content of `policies/<name>/<version>.yaml`, with all defaults filled in.

    Categories are sorted by name, so that two policies with the same digest have the same order.
    """

    name: Slug
    """The name of the folder of its versions."""
    version: Version
    """The name of the file. A released version never changes."""
    description: Annotated[str, Field(max_length=MAX_DESCRIPTION)] = ""
    """For people. Not part of the digest."""
    templates: Templates = (SLOT,)
    """Sentences around each prompt, with `{}` in its place. A prompt's embedding is the mean over them."""
    safe: Prompts = ()
    """Prompts: what is allowed, shared by all categories."""
    categories: Annotated[dict[Slug, Category], Field(min_length=1, max_length=MAX_CATEGORIES)]
    """What is not allowed, by name."""
    signals: Annotated[tuple[SignalEntry, ...], Field(max_length=MAX_SIGNALS)] = ()
    """Other sources of scores than prompts."""
    views: ViewOptions = Field(default_factory=ViewOptions)
    """In which views pictures are judged."""
    encoders: Annotated[
        tuple[EncoderScales, ...], Field(max_length=MAX_ENCODERS, exclude_if=lambda listed: not listed)
    ] = ()
    """Encoders on which the thresholds were measured. The policy is used with these alone; without any, with all."""

    @field_validator("categories", mode="wrap")
    @classmethod
    def _checked_against_shared(
        cls, value: Any, handler: ValidatorFunctionWrapHandler, info: ValidationInfo
    ) -> dict[str, Category]:
        # Report the categories' own problems together with those across keys, so that one pass over the file
        # shows everything to fix.
        problems = [] if info.data.get("safe") != () else _without_safe(value)
        try:
            categories: dict[str, Category] = handler(value)
        except ValidationError as error:
            own = [
                InitErrorDetails(type=_kept(e), loc=e["loc"], input=e["input"], ctx=e.get("ctx", {}))
                for e in error.errors(include_url=False)
            ]
            across = [InitErrorDetails(type=policy_error(m), loc=loc, input=v) for loc, m, v in problems]
            raise ValidationError.from_exception_data("policy", own + across) from None
        total = len(info.data.get("safe", ())) + sum(len(c.unsafe) + len(c.safe) for c in categories.values())
        if total > MAX_PROMPTS:
            message = (
                f"the policy has {total} prompts; at most {MAX_PROMPTS} are allowed, so split the policy"
            )
            problems.append(((), message, None))
        refuse(problems)
        return dict(sorted(categories.items()))

    @field_validator("signals")
    @classmethod
    def _named_once(cls, value: tuple[SignalEntry, ...]) -> tuple[SignalEntry, ...]:
        names = [signal.name for signal in value]
        refuse(
            (
                (n, "name"),
                f"'{name}' is the name of item {names.index(name) + 1} already; choose another",
                name,
            )
            for n, name in enumerate(names)
            if name in names[:n]
        )
        return value

    @model_validator(mode="after")
    def _references_exist(self) -> Self:
        problems = chain(signal_problems(self.categories, self.signals), condition_problems(self.categories))
        refuse(
            (("categories", *path), message, value) for path, message, value in islice(problems, MAX_PROBLEMS)
        )
        return self

    @model_validator(mode="after")
    def _scales_fit(self) -> Self:
        listed = [scales.identity for scales in self.encoders]
        twice: list[Located] = [
            (
                ("encoders", n),
                f"is the same encoder as item {listed.index(identity) + 1}; remove one of them",
                None,
            )
            for n, identity in enumerate(listed)
            if identity in listed[:n]
        ]
        hint = CategoryHints(self.categories)
        unfit: Iterator[Located] = (
            (("encoders", n, *path), message, value)
            for n, scales in enumerate(self.encoders)
            for path, message, value in scales.problems(self.categories, hint)
        )
        refuse((*twice, *islice(unfit, MAX_PROBLEMS)))
        return self

    def categories_on(self, encoder: Identity) -> Mapping[str, Category] | None:
        """Return the categories with the thresholds that apply on an encoder.

        None: the policy lists encoders, and this is none of them.
        """
        if not self.encoders:
            return self.categories
        return next(
            (scales.apply(self.categories) for scales in self.encoders if scales.identity == encoder), None
        )

    def view_plan(self, limit: int) -> ViewPlan:
        """Return the views to make, at most `limit` of one picture.

        The rule `softmax-mean` is a recipe for whole pictures, so a policy with no other has views only if it says how
        many.
        """
        rules = {category.rule for category in self.categories.values() if category.has_prompts}
        return self.views.plan(limit, 1 if rules == {Rule.SOFTMAX_MEAN} else limit)

    def canonical(self) -> bytes:
        """Return the input of the digest: JSON in UTF-8, keys sorted, no whitespace, defaults filled in.

        It contains everything that can change a verdict, the name and the version. It leaves out the description,
        comments, layout and the order of keys in the file, but keeps the order of prompts. A field that a later
        format adds must be left out while it has its default, or released digests change.
        """
        content = self.model_dump(mode="json", exclude={"description"})
        content["views"] = self.views.model_dump(mode="json", exclude_defaults=True)
        if not content["views"]:
            del content["views"]
        for category in content["categories"].values():
            # Leave out the unused sources: `signal` was added later, and the prompt keys mean nothing beside another.
            unused = set() if category["signal"] is not None else {"signal"}
            if category["signal"] is not None or "when" in category:
                unused |= PROMPT_KEYS
            for key in unused:
                category.pop(key, None)
            if category.get("midpoint") == NO_SHIFT:
                del category["midpoint"]
        for signal in content["signals"]:
            for key in [key for key in ("file", "sha256") if signal[key] is None]:
                del signal[key]
        return json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the canonical form, 64 hexadecimal digits."""
        return hashlib.sha256(self.canonical()).hexdigest()

    @property
    def reference(self) -> str:
        """`name@version`."""
        return f"{self.name}@{self.version}"

    @property
    def prompt_count(self) -> int:
        """Number of prompts, of all categories and shared, before templates."""
        return len(self.safe) + sum(len(c.unsafe) + len(c.safe) for c in self.categories.values())


def _kept(error: Any) -> str | PydanticCustomError:
    """Return the type of an error, in the form that re-raises it unchanged."""
    return policy_error(error["ctx"]["problem"]) if error["type"] == "policy" else str(error["type"])


def _without_safe(categories: Any) -> list[Located]:
    """Return a problem for each category whose rule needs safe prompts and that has none."""
    if not isinstance(categories, Mapping):
        return []
    problems: list[Located] = []
    for name, category in categories.items():
        fields = dict(category) if isinstance(category, Mapping | Category) else {"rule": None}
        rule = fields.get("rule", Rule.SOFTMAX_SUM)
        if fields.get("signal") is not None or fields.get("when") is not None:
            continue
        if isinstance(rule, str) and rule in list(Rule) and Rule(rule).needs_safe and not fields.get("safe"):
            message = (
                f"the rule {rule} compares with safe prompts and there are none; "
                "add a list 'safe:' here or at the top of the file"
            )
            problems.append(((name,), message, category))
    return problems
