"""The last lines of a command: which commands may come next."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from moderator.cli.output import console, plain


@dataclass(frozen=True)
class NextStep:
    """A command line, and what it is for."""

    command: str
    why: str


def step(why: str, *words: str, policies: Path | None = None) -> NextStep:
    """Return `moderator policy WORDS` as a step, in the same folder of policies as the command that names it."""
    folder = ["--policies", str(policies)] if policies is not None else []
    return NextStep(shlex.join(["moderator", "policy", *words, *folder]), why)


def print_steps(steps: Sequence[NextStep]) -> None:
    """Print what may come next, one command on each line that can be copied as it is."""
    width = max((len(one.command) for one in steps), default=0)
    for n, one in enumerate(steps):
        line = f"{'Next:' if n == 0 else '     '} {one.command:{width}}  # {one.why}"
        console.print(plain(line), soft_wrap=True, highlight=False)
