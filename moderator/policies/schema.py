"""The policy file format and the pointer file format, as pure immutable data. No I/O, no YAML.

What a policy *means* (how similarities become scores) is the business of `moderator.scoring`; this module
says what may stand in a file and what a version's digest covers.
"""

import hashlib
import json
import unicodedata
from collections.abc import Iterable, Mapping
from enum import StrEnum
from functools import cached_property
from typing import Annotated, Any, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    field_validator,
    model_validator,
)
from pydantic_core import InitErrorDetails, PydanticCustomError

#: Bounds that keep a hostile or runaway file from costing more than a moment to read and compile.
MAX_NAME = 64
MAX_VERSION = 999_999
MAX_DESCRIPTION = 2_000
MAX_PROMPT = 300
MAX_PROMPTS = 2_000
MAX_CATEGORIES = 1_000
MAX_TEMPLATES = 100
MAX_SHADOWS = 10

#: Where a template takes the prompt.
SLOT = "{}"


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


def fill(template: str, prompt: str) -> str:
    """Put a prompt into a template. Plain replacement: braces in a prompt mean nothing."""
    return template.replace(SLOT, prompt)


def same_text(text: str) -> str:
    """The form in which two prompts count as one: case does not part them."""
    return text.casefold()


_Located = tuple[tuple[str | int, ...], str, Any]


def _error(message: str) -> PydanticCustomError:
    # The message goes in as a value: braces that it quotes from a file are not placeholders.
    return PydanticCustomError("policy", "{problem}", {"problem": message})


def _refuse(problems: Iterable[_Located]) -> None:
    """Raise all problems at once, each at its own place (key path, message, value), if there are any."""
    details = [InitErrorDetails(type=_error(m), loc=loc, input=value) for loc, m, value in problems]
    if details:
        raise ValidationError.from_exception_data("policy", details)


def _clean(text: str) -> str:
    """One line, single spaces, composed characters: what looks the same is the same, and has one digest."""
    text = unicodedata.normalize("NFC", " ".join(text.split()))
    if not text:
        raise _error("is empty; write the text or remove the line")
    if len(text) > MAX_PROMPT:
        raise _error(f"has {len(text)} characters; at most {MAX_PROMPT} are allowed, so shorten it")
    if any(unicodedata.category(c) in ("Cc", "Cs") for c in text):
        raise _error("contains a control character; remove it")
    return text


def _unique(texts: tuple[str, ...]) -> tuple[str, ...]:
    first: dict[str, int] = {}
    problems: list[_Located] = []
    for n, text in enumerate(texts):
        if (before := first.setdefault(same_text(text), n)) != n:
            problems.append(((n,), f"'{text}' is already item {before + 1} of this list; remove it", text))
    _refuse(problems)
    return texts


def _has_slot(template: str) -> str:
    if (found := template.count(SLOT)) != 1:
        raise _error(
            f"contains {SLOT} {found} times; write it once, where the prompt belongs: 'a photo of {SLOT}'"
        )
    return template


Slug = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]+(?:-[a-z0-9]+)*$", max_length=MAX_NAME)]
# Numbers are strict: `block: yes` and `version: "3"` are slips, not values.
Version = Annotated[int, Field(strict=True, ge=1, le=MAX_VERSION)]
Threshold = Annotated[float, Field(strict=True, gt=0, le=1, allow_inf_nan=False)]
Percent = Annotated[float, Field(strict=True, ge=0, le=100, allow_inf_nan=False)]
Prompt = Annotated[str, AfterValidator(_clean)]
Prompts = Annotated[tuple[Prompt, ...], Field(max_length=MAX_PROMPTS), AfterValidator(_unique)]
Template = Annotated[Prompt, AfterValidator(_has_slot)]
Templates = Annotated[
    tuple[Template, ...], Field(min_length=1, max_length=MAX_TEMPLATES), AfterValidator(_unique)
]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Category(_Frozen):
    """One thing that is not allowed. `review <= score < block` goes to people; `score >= block` is blocked.

    `safe` are hard negatives of this category alone, beside the policy's shared ones. Without `review` there
    is no band for people.
    """

    unsafe: Annotated[Prompts, Field(min_length=1)]
    safe: Prompts = ()
    rule: Rule = Rule.SOFTMAX_SUM
    review: Threshold | None = None
    block: Threshold = 0.5

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.review is not None and self.review >= self.block:
            default = "" if "block" in self.model_fields_set else " (the default)"
            message = (
                f"{self.review:g} is not below block {self.block:g}{default}; "
                "lower review, raise block, or remove review to send nothing to people"
            )
            _refuse([(("review",), message, self.review)])
        return self


class Policy(_Frozen):
    """One version of a policy: what `policies/<name>/<version>.yaml` says, with all defaults filled in.

    Categories are kept sorted by name, so that two policies of one digest are read in one order.
    """

    name: Slug
    version: Version
    description: Annotated[str, Field(max_length=MAX_DESCRIPTION)] = ""
    templates: Templates = (SLOT,)
    safe: Prompts = ()
    categories: Annotated[dict[Slug, Category], Field(min_length=1, max_length=MAX_CATEGORIES)]
    signals: tuple[Any, ...] = ()

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
            across = [InitErrorDetails(type=_error(m), loc=loc, input=v) for loc, m, v in problems]
            raise ValidationError.from_exception_data("policy", own + across) from None
        total = len(info.data.get("safe", ())) + sum(len(c.unsafe) + len(c.safe) for c in categories.values())
        if total > MAX_PROMPTS:
            message = (
                f"the policy has {total} prompts; at most {MAX_PROMPTS} are allowed, so split the policy"
            )
            problems.append(((), message, None))
        _refuse(problems)
        return dict(sorted(categories.items()))

    @field_validator("signals")
    @classmethod
    def _no_signals_yet(cls, value: tuple[Any, ...]) -> tuple[Any, ...]:
        if value:
            raise _error("signals are not supported yet; write 'signals: []' or remove the key")
        return value

    def canonical(self) -> bytes:
        """What the digest is taken of: JSON in UTF-8, keys sorted, no whitespace, defaults filled in.

        It holds everything that can change a verdict, and the name and version. The description is not part
        of it, nor are comments, layout and the order of keys in the file. The order of prompts is. A field
        that a later format adds has to stay out of it while it has its default, or released digests change.
        """
        content = self.model_dump(mode="json", exclude={"description"})
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
    return _error(error["ctx"]["problem"]) if error["type"] == "policy" else str(error["type"])


def _without_safe(categories: Any) -> list[_Located]:
    """Categories that are scored against safe prompts and have none, in a policy without shared ones."""
    if not isinstance(categories, Mapping):
        return []
    problems: list[_Located] = []
    for name, category in categories.items():
        fields = dict(category) if isinstance(category, Mapping | Category) else {"rule": None}
        rule = fields.get("rule", Rule.SOFTMAX_SUM)
        if isinstance(rule, str) and rule in list(Rule) and Rule(rule).needs_safe and not fields.get("safe"):
            message = (
                f"the rule {rule} compares with safe prompts and there are none; "
                "add a list 'safe:' here or at the top of the file"
            )
            problems.append(((name,), message, category))
    return problems


class Canary(_Frozen):
    """A version that decides for a part of the events: `percent` of them, 0 to 100."""

    version: Version
    percent: Percent


class Pointer(_Frozen):
    """What `active.yaml` says of one policy.

    `active` decides, `shadow` versions are scored beside it and never decide, `canary` decides in place of
    the active version for a stable part of the events.
    """

    active: Version
    shadow: Annotated[tuple[Version, ...], Field(max_length=MAX_SHADOWS)] = ()
    canary: Canary | None = None

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        problems: list[_Located] = []
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
        _refuse(problems)
        return self


def canary_picks(event_key: str, name: str, percent: float) -> bool:
    """Whether the canary of policy `name` decides for the event with this key.

    Stable: it depends on nothing but the arguments, so a redelivered event meets the same version, and an
    event picked at some percentage stays picked at every higher one. The first 64 bits of SHA-256 over name
    and key are read as a number and compared with the percentage of 2^64.
    """
    seed = f"{name}\0{event_key}".encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.sha256(seed).digest()[:8]) < percent / 100 * 2.0**64
