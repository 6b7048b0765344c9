"""Settings section for policies: where they are, and which one is the default."""

from pathlib import Path

from pydantic import Field

from moderator.settings.section import Section


def default_policies_folder() -> Path:
    """Return `./policies` if it exists, else the policies that ship with the package."""
    local = Path("policies")
    if local.is_dir():
        return local
    package = Path(__file__).parents[1]
    bundled = package / "data" / "policies"
    return bundled if bundled.is_dir() else package.parent / "policies"


class PolicySettings(Section):
    """Where policies are, and which one is the default."""

    policies: Path = Field(
        default_factory=default_policies_folder,
        description="Folder of policies. Default: `./policies`, else the ones that come with the package.",
    )
    default_policy: str = Field("marketplace", description="Policy of events and commands that name none.")
