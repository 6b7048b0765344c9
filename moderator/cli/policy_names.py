"""Names of policies and versions on the command line."""

from typing import Annotated

import typer

from moderator.cli.options import policy_reference

VersionArgument = Annotated[str, typer.Argument(metavar="NAME@VERSION", help="Such as marketplace@2.")]


def full_reference(text: str) -> tuple[str, int]:
    """Read `NAME@VERSION`; anything else is a usage error and ends with 2."""
    name, version = policy_reference(text)
    if version is None:
        raise typer.BadParameter(f"name the version as well, such as {name}@1")
    return name, version


def name_only(text: str) -> str:
    """Read `NAME`; anything else is a usage error and ends with 2."""
    name, version = policy_reference(text)
    if version is not None:
        raise typer.BadParameter(f"name the policy alone: {name}")
    return name
