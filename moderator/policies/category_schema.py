"""The categories of a policy file, as pure immutable data. No I/O, no YAML."""

from collections.abc import Mapping
from enum import StrEnum
from functools import cached_property
from typing import Annotated, Any, Self

from pydantic import (
    AfterValidator,
    Field,
    ModelWrapValidatorHandler,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticKnownError

from moderator.policies.calibration_schema import Calibration, CategoryProbe
from moderator.policies.condition_parser import Condition, parse_condition
from moderator.policies.dsa_schema import StatementBlock
from moderator.policies.fields import (
    NO_SHIFT,
    BlockThreshold,
    ConditionText,
    Frozen,
    Located,
    Message,
    Midpoint,
    Prompts,
    ReviewThreshold,
    Slug,
    refuse,
    unless_none,
)
from moderator.verdicts import CategorySeverity

#: A category with this rule takes its score from a signal of this kind.
PROBE = "probe"
#: Most logits that a category may ask for: hardly a view is above a threshold then.
MAX_VIEW_ALLOWANCE = 10.0
#: Keys of a category that mean nothing where a signal or a condition gives the score.
PROMPT_KEYS = {"unsafe", "safe", "rule", "midpoint", "view_allowance"}


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


def _parsed(text: str) -> str:
    parse_condition(text)
    return text


class Category(Frozen):
    """One thing that is not allowed. `review <= score < block` goes to people; `score >= block` is blocked.

    The score comes from one source: from prompts by a rule; from the `signal` of that name; or, with `when`, from other
    categories.
    """

    signal: Slug | None = None
    """The signal, of those under `signals:`, that gives the score, instead of prompts."""
    when: Annotated[
        Annotated[ConditionText, AfterValidator(_parsed)] | None, Field(exclude_if=unless_none)
    ] = None
    """A condition over other categories that gives the score, such as `smoking and minor`."""
    unsafe: Annotated[Prompts, Field(validate_default=True)] = ()
    """Prompts: what is not allowed, in words. Needed unless there is `signal` or `when`."""
    safe: Prompts = ()
    """Prompts: what must not be mistaken for it (hard negatives), in addition to the policy's."""
    rule: Annotated[Rule, WithJsonSchema({"enum": [*Rule, PROBE]})] = Rule.SOFTMAX_SUM
    """How similarities become the score. `probe` goes with `signal`, and only states that it is of that kind."""
    midpoint: Midpoint = NO_SHIFT
    """Score of the bare rule that counts as 0.5, so that one threshold means the same in each category."""
    view_allowance: Annotated[
        float, Field(ge=0, le=MAX_VIEW_ALLOWANCE, allow_inf_nan=False, exclude_if=lambda logits: logits == 0)
    ] = 0.0
    """Logits by which its score is lowered in parts of a picture, beyond what holds for all categories."""
    probe: Annotated[CategoryProbe | None, Field(exclude_if=unless_none)] = None
    """A signal of the kind `probe` whose score is joined with that of the prompts."""
    calibration: Annotated[Calibration | None, Field(exclude_if=unless_none)] = None
    """Maps the score, after midpoint and probe, to a probability. Written by `policy tune`."""
    review: ReviewThreshold = None
    """Score from which people look. Without it, or with `never`, no score goes to people."""
    block: BlockThreshold = 0.5
    """Score from which the image is blocked. `never`: no score blocks."""
    severity: Annotated[CategorySeverity | None, Field(exclude_if=unless_none)] = None
    """How grave it is. In the verdict if the category decides; changes no decision."""
    message: Annotated[Message | None, Field(exclude_if=unless_none)] = None
    """A text for whoever uploaded the picture. In the verdict if the category decides; changes no decision."""
    dsa: Annotated[StatementBlock | None, Field(exclude_if=unless_none)] = None
    """The reasons of a block as the EU's DSA Transparency Database wants them; changes no decision."""
    flood: Annotated[bool, Field(strict=True, exclude_if=lambda on: on)] = True
    """`off`: the flood breaker never diverts its blocks to review. For lists of known illegal pictures."""
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
    def _needed_without_source(cls, value: Any, info: ValidationInfo) -> Any:
        if info.data.get("signal", "") is None and info.data.get("when", "") is None:
            if value == ():
                raise PydanticKnownError("missing")
            if value == []:
                raise PydanticKnownError(
                    "too_short", {"field_type": "Tuple", "min_length": 1, "actual_length": 0}
                )
        return value

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if self.has_prompts:
            return self
        given = self.model_fields_set
        if self.when is None:
            keys = given & {*PROMPT_KEYS, "probe"}
            message = (
                "goes with prompts, and this category takes its score from a signal; remove one of the two"
            )
        else:
            keys = given & {*PROMPT_KEYS, "probe", "signal", "calibration"}
            message = (
                "does not go with 'when', which takes the score from other categories; remove one of the two"
            )
        refuse([((key,), message, None) for key in sorted(keys)])
        return self

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        refuse(scale_problems(self))
        return self

    @property
    def has_prompts(self) -> bool:
        """Whether the score comes from prompts."""
        return self.signal is None and self.when is None

    @cached_property
    def condition(self) -> Condition | None:
        """The parsed `when`."""
        return None if self.when is None else parse_condition(self.when)

    @property
    def says_probe(self) -> bool:
        """Whether the file states the rule `probe`."""
        return self._says_probe


def scale_problems(category: Category) -> list[Located]:
    """Return what does not go together in the keys that move a category's score, and in its thresholds."""
    problems: list[Located] = []
    if category.has_prompts and not category.rule.is_relative:
        rules = " and ".join(rule for rule in Rule if rule.is_relative)
        moved = {
            "midpoint": category.midpoint != NO_SHIFT,
            "probe": category.probe is not None,
            "calibration": category.calibration is not None,
        }
        message = f"goes with the rules {rules}, and this is {category.rule}; remove it or change the rule"
        problems += [((key,), message, getattr(category, key)) for key, given in moved.items() if given]
    if category.review is not None and category.review >= category.block:
        default = "" if "block" in category.model_fields_set else " (the default)"
        message = (
            f"{category.review:g} is not below block {category.block:g}{default}; "
            "lower review, raise block, or remove review to send nothing to people"
        )
        problems.append((("review",), message, category.review))
    return problems
