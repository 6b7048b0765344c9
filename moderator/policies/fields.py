"""Single values in policy files: names, numbers, prompts and templates, with their bounds and errors."""

import math
import unicodedata
from collections.abc import Iterable
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    StringConstraints,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WithJsonSchema,
    WrapValidator,
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
MAX_SIGNALS = 20
MAX_FILE_NAME = 200
MAX_MESSAGE = 500
MAX_CONDITION = 500
MAX_ENCODERS = 20
#: Most problems reported per file; nobody reads more.
MAX_PROBLEMS = 100

#: Placeholder for the prompt in a template.
SLOT = "{}"


def fill(template: str, prompt: str) -> str:
    """Put a prompt into a template. Plain replacement: braces in a prompt mean nothing."""
    return template.replace(SLOT, prompt)


def same_text(text: str) -> str:
    """Return the form in which prompts are compared: they may differ in case."""
    return text.casefold()


#: A threshold that no score reaches, and its spelling in files.
NEVER = math.inf
NEVER_WORD = "never"

Located = tuple[tuple[str | int, ...], str, Any]


def policy_error(message: str) -> PydanticCustomError:
    """Return the validation error for a problem in a policy file."""
    # Pass the message as a value: braces that it quotes from a file are not placeholders.
    return PydanticCustomError("policy", "{problem}", {"problem": message})


def refuse(problems: Iterable[Located]) -> None:
    """Raise all problems (key path, message, value) in one error, if there are any."""
    details = [InitErrorDetails(type=policy_error(m), loc=loc, input=value) for loc, m, value in problems]
    if details:
        raise ValidationError.from_exception_data("policy", details)


def _one_line(most: int) -> tuple[AfterValidator, WithJsonSchema]:
    """Return a validator of texts of at most `most` characters, and its JSON Schema.

    It puts the text on one line, with single spaces and composed characters: equal looks, equal digest.
    """

    def clean(text: str) -> str:
        text = unicodedata.normalize("NFC", " ".join(text.split()))
        if not text:
            raise policy_error("is empty; write the text or remove the line")
        if len(text) > most:
            raise policy_error(f"has {len(text)} characters; at most {most} are allowed, so shorten it")
        if any(unicodedata.category(c) in ("Cc", "Cs") for c in text):
            raise policy_error("contains a control character; remove it")
        return text

    return AfterValidator(clean), WithJsonSchema({"type": "string", "minLength": 1, "maxLength": most})


def _unique(texts: tuple[str, ...]) -> tuple[str, ...]:
    first: dict[str, int] = {}
    problems: list[Located] = []
    for n, text in enumerate(texts):
        if (before := first.setdefault(same_text(text), n)) != n:
            problems.append(((n,), f"'{text}' is already item {before + 1} of this list; remove it", text))
    refuse(problems)
    return texts


def _has_slot(template: str) -> str:
    if (found := template.count(SLOT)) != 1:
        raise policy_error(
            f"contains {SLOT} {found} times; write it once, where the prompt belongs: 'a photo of {SLOT}'"
        )
    return template


def _or_never(value: Any, handler: ValidatorFunctionWrapHandler) -> Any:
    return NEVER if value == NEVER_WORD else handler(value)


def threshold_text(value: float) -> str:
    """Return a threshold as it is written in files."""
    return NEVER_WORD if value == NEVER else f"{value:g}"


Slug = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]+(?:-[a-z0-9]+)*$", max_length=MAX_NAME)]
# Numbers are strict: `block: yes` and `version: "3"` are mistakes, not values.
Version = Annotated[int, Field(strict=True, ge=1, le=MAX_VERSION)]
Threshold = Annotated[float, Field(strict=True, gt=0, le=1, allow_inf_nan=False)]
_THRESHOLD_SCHEMA = {
    "anyOf": [{"type": "number", "exclusiveMinimum": 0, "maximum": 1}, {"const": NEVER_WORD}]
}
BlockThreshold = Annotated[
    Threshold,
    WrapValidator(_or_never),
    WithJsonSchema(_THRESHOLD_SCHEMA),
    PlainSerializer(lambda value: NEVER_WORD if value == NEVER else value, when_used="json"),
]
#: `never` means the same as leaving it out.
ReviewThreshold = Annotated[
    Threshold | None,
    BeforeValidator(lambda value: None if value == NEVER_WORD else value),
    WithJsonSchema(_THRESHOLD_SCHEMA),
]
#: The default changes no score.
Midpoint = Annotated[float, Field(strict=True, gt=0, lt=1, allow_inf_nan=False)]
NO_SHIFT = 0.5
Percent = Annotated[float, Field(strict=True, ge=0, le=100, allow_inf_nan=False)]
Prompt = Annotated[str, *_one_line(MAX_PROMPT)]
#: For whoever uploaded the picture.
Message = Annotated[str, *_one_line(MAX_MESSAGE)]
ConditionText = Annotated[str, *_one_line(MAX_CONDITION)]
Prompts = Annotated[tuple[Prompt, ...], Field(max_length=MAX_PROMPTS), AfterValidator(_unique)]
Template = Annotated[Prompt, AfterValidator(_has_slot)]
Templates = Annotated[
    tuple[Template, ...], Field(min_length=1, max_length=MAX_TEMPLATES), AfterValidator(_unique)
]


def unless_none(value: object) -> bool:
    """Return whether to leave a value out of the digest and of JSON (for `exclude_if`): fields of later formats."""
    return value is None


class Frozen(BaseModel):
    """Base of the parts of a file: immutable, and unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)
