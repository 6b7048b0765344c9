"""The policy file format and the pointer file format, as pure immutable data. No I/O, no YAML.

What a policy *means* (how similarities become scores) is the business of `moderator.scoring`; this module
says what may stand in a file and what a version's digest covers.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from enum import StrEnum
from functools import cached_property
from typing import Annotated, Any, Self

from pydantic import (
    AfterValidator,
    ConfigDict,
    Field,
    JsonValue,
    ModelWrapValidatorHandler,
    StringConstraints,
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
    MAX_FILE_NAME,
    MAX_PROMPTS,
    MAX_SHADOWS,
    MAX_SIGNALS,
    SLOT,
    BlockThreshold,
    Frozen,
    Located,
    Percent,
    Prompts,
    ReviewThreshold,
    Slug,
    Templates,
    Version,
    policy_error,
    refuse,
)

#: A category with this rule takes its score from a signal of this kind.
PROBE = "probe"


class Rule(StrEnum):
    """How the similarities of a category's prompts become its score."""

    SOFTMAX_MEAN = "softmax-mean"
    SOFTMAX_SUM = "softmax-sum"
    SOFTMAX_MAX = "softmax-max"
    SIGMOID = "sigmoid"
    MARGIN = "margin"

    @property
    def needs_safe(self) -> bool:
        """Whether the score is relative to safe prompts: without one it would be the same for every image."""
        return self is not Rule.SIGMOID


def _inside(name: str) -> str:
    parts = re.split(r"[/\\]", name)
    if "" in parts or ".." in parts or "." in parts or ":" in name:
        raise policy_error(
            f"'{name[:40]}' is not a path below the folder of policies; write for example 'lists/bad.pdq'"
        )
    return name


class Signal(Frozen):
    """A further scorer: its name in this policy, its kind, the file it reads, and the options of its kind.

    `sha256` pins the content of the file, so that the policy's digest covers it.
    """

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, JsonValue]

    name: Slug
    kind: Slug
    file: (
        Annotated[str, StringConstraints(min_length=1, max_length=MAX_FILE_NAME), AfterValidator(_inside)]
        | None
    ) = None
    sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")] | None = None

    @model_validator(mode="after")
    def _pinned(self) -> Self:
        if self.file is not None and self.sha256 is None:
            message = "is missing: it pins the content of the file; write what `sha256sum` says of it"
            refuse([(("sha256",), message, None)])
        if self.file is None and self.sha256 is not None:
            refuse([(("sha256",), "pins no file; add 'file: NAME' or remove it", self.sha256)])
        return self

    @property
    def options(self) -> dict[str, JsonValue]:
        """What the kind is told: all further keys."""
        return dict(self.__pydantic_extra__)

    @cached_property
    def key(self) -> str:
        """Equal for signals that say the same of every image, whatever their names and their files' names."""
        content = [self.kind, self.sha256, self.options]
        return json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


class Category(Frozen):
    """One thing that is not allowed. `review <= score < block` goes to people; `score >= block` is blocked.

    Where `block` is not written it is 0.5; `block: never` blocks at no score.

    The score comes from prompts by a rule, or from the `signal` of that name. The rule `probe` may say that the
    signal is a probe; it changes nothing. `safe` are hard negatives of
    this category alone, beside the policy's shared ones. Without `review` there is no band for people.
    """

    signal: Slug | None = None
    unsafe: Annotated[Prompts, Field(validate_default=True)] = ()
    safe: Prompts = ()
    rule: Rule = Rule.SOFTMAX_SUM
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
        given = self.model_fields_set & {"unsafe", "safe", "rule"} if self.signal is not None else set()
        message = "goes with prompts, and this category takes its score from a signal; remove one of the two"
        refuse([((key,), message, None) for key in sorted(given)])
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
    """One version of a policy: what `policies/<name>/<version>.yaml` says, with all defaults filled in.

    Categories are kept sorted by name, so that two policies of one digest are read in one order.
    """

    name: Slug
    version: Version
    description: Annotated[str, Field(max_length=MAX_DESCRIPTION)] = ""
    templates: Templates = (SLOT,)
    safe: Prompts = ()
    categories: Annotated[dict[Slug, Category], Field(min_length=1, max_length=MAX_CATEGORIES)]
    signals: Annotated[tuple[Signal, ...], Field(max_length=MAX_SIGNALS)] = ()

    @field_validator("categories", mode="wrap")
    @classmethod
    def _checked_against_shared(
        cls, value: Any, handler: ValidatorFunctionWrapHandler, info: ValidationInfo
    ) -> dict[str, Category]:
        # The categories' own problems and those across keys are reported together, so that one reading of
        # the file shows all there is to mend.
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
    def _named_once(cls, value: tuple[Signal, ...]) -> tuple[Signal, ...]:
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

    def canonical(self) -> bytes:
        """What the digest is taken of: JSON in UTF-8, keys sorted, no whitespace, defaults filled in.

        It holds everything that can change a verdict, and the name and version. The description is not part
        of it, nor are comments, layout and the order of keys in the file. The order of prompts is. A field
        that a later format adds has to stay out of it while it has its default, or released digests change.
        """
        content = self.model_dump(mode="json", exclude={"description"})
        for category in content["categories"].values():
            # One of the two is at its default, and came later (signal) or means nothing (prompts).
            for key in ("signal",) if category["signal"] is None else ("unsafe", "safe", "rule"):
                del category[key]
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
        """Prompts of all categories and the shared ones, before templates."""
        return len(self.safe) + sum(len(c.unsafe) + len(c.safe) for c in self.categories.values())


def _kept(error: Any) -> str | PydanticCustomError:
    """The type of an error, in the form that raises it again unchanged."""
    return policy_error(error["ctx"]["problem"]) if error["type"] == "policy" else str(error["type"])


def _without_safe(categories: Any) -> list[Located]:
    """Categories that are scored against safe prompts and have none, in a policy without shared ones."""
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


class Canary(Frozen):
    """A version that decides for a part of the events: `percent` of them, 0 to 100."""

    version: Version
    percent: Percent


class Pointer(Frozen):
    """What `active.yaml` says of one policy.

    `active` decides, `shadow` versions are scored beside it and never decide, `canary` decides in place of
    the active version for a stable part of the events.
    """

    active: Version
    shadow: Annotated[tuple[Version, ...], Field(max_length=MAX_SHADOWS)] = ()
    canary: Canary | None = None

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        problems: list[Located] = []
        for n, version in enumerate(self.shadow):
            if version == self.active and not self.canary:
                message = f"{version} is the active version and cannot look on beside itself; remove it here"
                problems.append((("shadow", n), message, version))
            elif version in self.shadow[:n]:
                problems.append((("shadow", n), f"{version} is listed twice; remove it", version))
        if self.canary and self.canary.version == self.active:
            message = (
                f"{self.active} is the active version already; remove the canary or name another version"
            )
            problems.append((("canary", "version"), message, self.active))
        refuse(problems)
        return self


def canary_picks(event_key: str, name: str, percent: float) -> bool:
    """Whether the canary of policy `name` decides for the event with this key.

    Stable: it depends on nothing but the arguments, so a redelivered event meets the same version, and an
    event picked at some percentage stays picked at every higher one. The first 64 bits of SHA-256 over name
    and key are read as a number and compared with the percentage of 2^64.
    """
    seed = f"{name}\0{event_key}".encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.sha256(seed).digest()[:8]) < percent / 100 * 2.0**64
