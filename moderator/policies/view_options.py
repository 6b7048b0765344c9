"""The key `views` of a policy: in which views pictures are judged. Pure data."""

from typing import Annotated

from pydantic import Field

from moderator.policies.fields import Frozen
from moderator.view import ViewPlan

MAX_VIEWS = 64


class ViewOptions(Frozen):
    """The views of a picture that a policy judges."""

    most: Annotated[int, Field(strict=True, ge=1, le=MAX_VIEWS)] | None = None
    """Most views of a picture, together with the setting `MODERATOR_VIEWS`; without it, the setting alone counts."""
    turned: Annotated[bool, Field(strict=True)] = False
    """Whether pictures are also judged turned by 90, 180 and 270 degrees."""

    def plan(self, limit: int, default: int) -> ViewPlan:
        """Return the views to make, at most `limit` of one picture, and at most `default` if `most` is not given."""
        return ViewPlan(min(self.most or default, limit), self.turned)
