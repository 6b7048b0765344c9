"""The key `encoders` of a policy: thresholds that were measured on an encoder. Pure data.

The scores of two encoders are on two scales, so a threshold belongs to the encoder on which it was measured.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Annotated

from pydantic import Field

from moderator.identity import Identity
from moderator.policies.calibration_schema import Calibration
from moderator.policies.category_schema import Category, scale_problems
from moderator.policies.fields import (
    MAX_CATEGORIES,
    NO_SHIFT,
    BlockThreshold,
    Frozen,
    Located,
    Midpoint,
    ReviewThreshold,
    Slug,
    unless_none,
)

#: Most characters of a part of an encoder's identity.
MAX_IDENTITY = 1_000

_Text = Annotated[str, Field(min_length=1, max_length=MAX_IDENTITY)]


class CategoryScale(Frozen):
    """The scale of one category on an encoder.

    It takes the place of the category's own four keys as a whole: one that is left out has its default here, because a
    midpoint or a calibration of another encoder would mean nothing. `block` is therefore required.
    """

    midpoint: Midpoint = NO_SHIFT
    """As in the category."""
    calibration: Annotated[Calibration | None, Field(exclude_if=unless_none)] = None
    """As in the category."""
    review: ReviewThreshold = None
    """As in the category."""
    block: BlockThreshold
    """As in the category, but without a default."""


class EncoderScales(Frozen):
    """The scales of a policy's categories on one encoder, named by the three parts of its identity.

    A category that is not listed has its own keys.
    """

    id: _Text
    """The setting that chooses the encoder, as `moderator models check` shows it."""
    revision: _Text
    """Of its weights."""
    preprocessing: _Text
    """How pixels and texts reach it."""
    categories: Annotated[dict[Slug, CategoryScale], Field(min_length=1, max_length=MAX_CATEGORIES)]
    """The scale of each category that has one of its own here."""

    @property
    def identity(self) -> Identity:
        """The encoder."""
        return Identity(self.id, self.revision, self.preprocessing)

    def apply(self, categories: Mapping[str, Category]) -> dict[str, Category]:
        """Return the categories as they are on this encoder."""
        return {
            name: category.model_copy(update=_changes(self.categories[name]))
            if name in self.categories
            else category
            for name, category in categories.items()
        }

    def problems(self, categories: Mapping[str, Category], hint: Callable[[str], str]) -> Iterator[Located]:
        """Yield what does not go together with the policy's categories, by key paths below this entry.

        Args:
            categories: of the policy.
            hint: returns what to do about an unknown name.
        """
        for name, scale in self.categories.items():
            category = categories.get(name)
            path = ("categories", name)
            if category is None:
                yield path, f"there is no category '{name}'; {hint(name)}", None
                continue
            if not category.has_prompts and scale.midpoint != NO_SHIFT:
                message = "goes with prompts, and this category has none; remove it"
                yield (*path, "midpoint"), message, scale.midpoint
            if category.when is not None and scale.calibration is not None:
                message = (
                    "does not go with a condition, which takes its score from other categories; remove it"
                )
                yield (*path, "calibration"), message, None
            moved = category.model_copy(update=_changes(scale))
            for key, message, value in scale_problems(moved):
                yield (*path, *key), message, value


def _changes(scale: CategoryScale) -> dict[str, object]:
    return {name: getattr(scale, name) for name in CategoryScale.model_fields}
