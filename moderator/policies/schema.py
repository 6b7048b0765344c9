"""The policy file format and the pointer file format, as pure immutable data. No I/O, no YAML.

What a policy *means* (how similarities become scores) is the business of `moderator.scoring`; this module
says what may stand in a file and what a version's digest covers.
"""

import hashlib
import json
import re
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

#: Bounds that keep a hostile or runaway file from costing more than a moment to read and compile.
MAX_NAME = 64
MAX_VERSION = 999_999
MAX_DESCRIPTION = 2_000
MAX_PROMPT = 300
MAX_PROMPTS = 2_000
MAX_CATEGORIES = 1_000
MAX_TEMPLATES = 100
MAX_SHADOWS = 10
MAX_SIGNALS = 20
MAX_FILE_NAME = 200

#: A category with this rule takes its score from a signal of this kind.
PROBE = "probe"

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


def _inside(name: str) -> str:
    parts = re.split(r"[/\\]", name)
    if "" in parts or ".." in parts or "." in parts or ":" in name:
        raise _error(
            f"'{name[:40]}' is not a path below the folder of policies; write for example 'lists/bad.pdq'"
        )
    return name


class Signal(_Frozen):
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
            _refuse([(("sha256",), message, None)])
        if self.file is None and self.sha256 is not None:
            _refuse([(("sha256",), "pins no file; add 'file: NAME' or remove it", self.sha256)])
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


class Category(_Frozen):
    """One thing that is not allowed. `review <= score < block` goes to people; `score >= block` is blocked.

    The score comes from prompts by a rule, or from the `signal` of that name. The rule `probe` may say that the
    signal is a probe; it changes nothing. `safe` are hard negatives of
    this category alone, beside the policy's shared ones. Without `review` there is no band for people.
    """

    signal: Slug | None = None
    unsafe: Annotated[Prompts, Field(validate_default=True)] = ()
    safe: Prompts = ()
    rule: Rule = Rule.SOFTMAX_SUM
    review: Threshold | None = None
    block: Threshold = 0.5
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
        _refuse([((key,), message, None) for key in sorted(given)])
        return self

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
    def _named_once(cls, value: tuple[Signal, ...]) -> tuple[Signal, ...]:
        names = [signal.name for signal in value]
        _refuse(
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
        _refuse(
            (
                ("categories", title, "signal"),
                f"there is no signal '{category.signal}' ({listed}); add it to 'signals:' or correct the name",
                category.signal,
            )
            for title, category in self.categories.items()
            if category.signal is not None and category.signal not in names
        )
        kinds = {signal.name: signal.kind for signal in self.signals}
        _refuse(
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
    return _error(error["ctx"]["problem"]) if error["type"] == "policy" else str(error["type"])


def _without_safe(categories: Any) -> list[_Located]:
    """Categories that are scored against safe prompts and have none, in a policy without shared ones."""
    if not isinstance(categories, Mapping):
        return []
    problems: list[_Located] = []
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
