"""The policy file format, as pure immutable data. No I/O, no YAML.

What a policy *means* (how similarities become scores) is defined in `moderator.scoring`; this module defines
what a file may contain and what a version's digest covers.
"""

import hashlib
import json
from collections.abc import Mapping
from enum import StrEnum
from functools import cached_property
from typing import Annotated, Any, Self

from pydantic import (
    Field,
    ModelWrapValidatorHandler,
    ValidationError,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    field_validator,
    model_validator,
)
from pydantic_core import InitErrorDetails, PydanticCustomError, PydanticKnownError

from moderator.policies.fields import (
    MAX_CATEGORIES,
    MAX_DESCRIPTION,
    MAX_PROMPTS,
    MAX_SIGNALS,
    NO_SHIFT,
    SLOT,
    BlockThreshold,
    Frozen,
    Located,
    Midpoint,
    Prompts,
    ReviewThreshold,
    Slug,
    Templates,
    Version,
    policy_error,
    refuse,
)
from moderator.policies.signal_schema import SignalEntry
from moderator.policies.view_options import ViewOptions
from moderator.view import ViewPlan

#: A category with this rule takes its score from a signal of this kind.
PROBE = "probe"
#: Keys of a category that mean nothing where a signal gives the score.
PROMPT_KEYS = {"unsafe", "safe", "rule", "midpoint"}


class Rule(StrEnum):
    """How the similarities of a category's prompts become its score."""

    SOFTMAX_MEAN = "softmax-mean"
    SOFTMAX_SUM = "softmax-sum"
    SOFTMAX_MAX = "softmax-max"
    SIGMOID = "sigmoid"
    MARGIN = "margin"

    @property
    def needs_safe(self) -> bool:
        """Whether the score is relative to safe prompts: without any it would be the same for every image."""
        return self is not Rule.SIGMOID

    @property
    def is_relative(self) -> bool:
        """Whether the safe score is 1 minus the unsafe score, so that both can be moved together."""
        return self in (Rule.SOFTMAX_SUM, Rule.MARGIN)


class Category(Frozen):
    """One thing that is not allowed. `review <= score < block` goes to people; `score >= block` is blocked.

    `block` defaults to 0.5; `block: never` blocks at no score. Without `review`, no score goes to people.

    The score comes from prompts by a rule, or from the `signal` of that name. The rule `probe` is optional and only
    states that the signal is a probe. `safe` lists hard negatives of this category, in addition to the policy's
    shared ones.

    `midpoint` is the score of the bare rule that counts as 0.5, so that one threshold means the same in each category.
    """

    signal: Slug | None = None
    unsafe: Annotated[Prompts, Field(validate_default=True)] = ()
    safe: Prompts = ()
    rule: Rule = Rule.SOFTMAX_SUM
    midpoint: Midpoint = NO_SHIFT
    review: ReviewThreshold = None
    block: BlockThreshold = 0.5
    _says_probe: bool = False

    @model_validator(mode="wrap")
    @classmethod
    def _probe_is_a_signal(cls, value: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        if not isinstance(value, Mapping) or value.get("rule") != PROBE or value.get("signal") is None:
            return handler(value)
        category = handler({key: other for key, other in value.items() if key != "rule"})
        category._says_probe = True
        return category

    @field_validator("unsafe", mode="before")
    @classmethod
    def _needed_without_signal(cls, value: Any, info: ValidationInfo) -> Any:
        if info.data.get("signal", "") is None:
            if value == ():
                raise PydanticKnownError("missing")
            if value == []:
                raise PydanticKnownError(
                    "too_short", {"field_type": "Tuple", "min_length": 1, "actual_length": 0}
                )
        return value

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        given = self.model_fields_set & PROMPT_KEYS if self.signal is not None else set()
        message = "goes with prompts, and this category takes its score from a signal; remove one of the two"
        refuse([((key,), message, None) for key in sorted(given)])
        return self

    @model_validator(mode="after")
    def _movable(self) -> Self:
        if self.midpoint != NO_SHIFT and not self.rule.is_relative:
            rules = " and ".join(rule for rule in Rule if rule.is_relative)
            message = f"goes with the rules {rules}, and this is {self.rule}; remove it or change the rule"
            refuse([(("midpoint",), message, self.midpoint)])
        return self

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.review is not None and self.review >= self.block:
            default = "" if "block" in self.model_fields_set else " (the default)"
            message = (
                f"{self.review:g} is not below block {self.block:g}{default}; "
                "lower review, raise block, or remove review to send nothing to people"
            )
            refuse([(("review",), message, self.review)])
        return self


class Policy(Frozen):
    """One version of a policy: the content of `policies/<name>/<version>.yaml`, with all defaults filled in.

    Categories are sorted by name, so that two policies with the same digest have the same order.
    """

    name: Slug
    version: Version
    description: Annotated[str, Field(max_length=MAX_DESCRIPTION)] = ""
    templates: Templates = (SLOT,)
    safe: Prompts = ()
    categories: Annotated[dict[Slug, Category], Field(min_length=1, max_length=MAX_CATEGORIES)]
    signals: Annotated[tuple[SignalEntry, ...], Field(max_length=MAX_SIGNALS)] = ()
    views: ViewOptions = ViewOptions()

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
    def _signals_exist(self) -> Self:
        names = [signal.name for signal in self.signals]
        listed = f"signals of this policy: {', '.join(names)}" if names else "the policy has no 'signals:'"
        refuse(
            (
                ("categories", title, "signal"),
                f"there is no signal '{category.signal}' ({listed}); add it to 'signals:' or correct the name",
                category.signal,
            )
            for title, category in self.categories.items()
            if category.signal is not None and category.signal not in names
        )
        kinds = {signal.name: signal.kind for signal in self.signals}
        refuse(
            (
                ("categories", title, "rule"),
                f"is {PROBE}, and the signal '{category.signal}' is of kind {kinds[category.signal]}; remove the rule",
                PROBE,
            )
            for title, category in self.categories.items()
            if category._says_probe and category.signal is not None and kinds[category.signal] != PROBE
        )
        return self

    def view_plan(self, limit: int) -> ViewPlan:
        """Return the views to make, at most `limit` of one picture.

        The rule `softmax-mean` is a recipe for whole pictures, so a policy with no other has views only if it says how
        many.
        """
        rules = {category.rule for category in self.categories.values() if category.signal is None}
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
            # Leave out the unused source: `signal` was added later, and the prompt keys mean nothing beside a signal.
            for key in ("signal",) if category["signal"] is None else PROMPT_KEYS:
                del category[key]
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
        if fields.get("signal") is not None:
            continue
        if isinstance(rule, str) and rule in list(Rule) and Rule(rule).needs_safe and not fields.get("safe"):
            message = (
                f"the rule {rule} compares with safe prompts and there are none; "
                "add a list 'safe:' here or at the top of the file"
            )
            problems.append(((name,), message, category))
    return problems
