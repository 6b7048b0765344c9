"""Settings section for objects: what is done to an object in a bucket after its verdict."""

from pydantic import Field, field_validator

from moderator.settings.section import CommaSeparated, Section
from moderator.verdicts import Decision

ACTIONS = ("tag", "quarantine", "delete")
DRY_RUN = "dry-run"


class ObjectSettings(Section):
    """What is done to an object in a bucket after its verdict (extra `bucket`); nothing unless it is set."""

    object_actions: CommaSeparated[str] = Field(
        (),
        description="What is done to an object after its verdict: `DECISION:ACTION`, comma-separated, such as "
        "`block:quarantine,block:delete`. Actions: `tag`, `quarantine` (copy it to `MODERATOR_QUARANTINE`), `delete`. "
        "With `:dry-run` after it, an action only logs and counts what it would do. None: nothing.",
    )
    quarantine: str | None = Field(
        None, description="Where `quarantine` copies objects to: `BUCKET` or `BUCKET/PREFIX`."
    )

    @field_validator("object_actions")
    @classmethod
    def _check_actions(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for entry in value:
            decision, _, action = entry.removesuffix(f":{DRY_RUN}").partition(":")
            if decision not in [*Decision] or action not in ACTIONS:
                raise ValueError(
                    f"{entry!r} is no DECISION:ACTION or DECISION:ACTION:{DRY_RUN}; decisions: {', '.join(Decision)}; "
                    f"actions: {', '.join(ACTIONS)}"
                )
            if {entry, f"{entry}:{DRY_RUN}"} <= {*value} or value.count(entry) > 1:
                raise ValueError(f"{entry!r} is there twice; name each action of a decision once")
            if entry == f"{decision}:delete" and f"{decision}:quarantine:{DRY_RUN}" in value:
                raise ValueError(
                    f"{entry!r} would delete what {decision}:quarantine:{DRY_RUN} does not copy; try both, or none"
                )
        return value
