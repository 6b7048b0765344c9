"""The section of the settings: where policies are, and which one judges where none is named."""

from pathlib import Path

from pydantic import Field

from moderator.settings.section import Section


def default_policies_folder() -> Path:
    """`./policies` where there is one, else the policies that come with the package."""
    local = Path("policies")
    if local.is_dir():
        return local
    package = Path(__file__).parents[1]
    bundled = package / "data" / "policies"
    return bundled if bundled.is_dir() else package.parent / "policies"


class PolicySettings(Section):
    """Where policies are, and which one judges where none is named."""

    policies: Path = Field(
        default_factory=default_policies_folder,
        description="Folder of policies. Default: `./policies`, else the ones that come with the package.",
    )
    default_policy: str = Field("marketplace", description="Policy of events and commands that name none.")
