"""Walk through a page of the documentation: write the files that it shows, run its commands, compare what they print.

A block marked ```console holds commands, each after `$ `, and below each what it prints, where `...` stands for
anything. A block marked with a language and a name (```python setup.py) is a file. All other blocks are for reading.
"""

import re
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

#: Printed between commands, to tell apart what they print.
_MARK = "=== walked ==="
_BLOCK = re.compile(r"^```(\w+)(?: (\S+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
#: Seconds after which a page hangs.
WALK_SECONDS_MAX = 60


@dataclass
class Step:
    """A command, and what the page says it prints."""

    command: str
    expected: str = ""
    printed: str = field(default="", compare=False)

    @property
    def as_written(self) -> bool:
        pattern = re.escape(self.expected.strip()).replace(r"\.\.\.", ".*")
        return re.fullmatch(pattern, self.printed.strip(), re.DOTALL) is not None


def read_page(page: str) -> tuple[dict[str, str], list[Step]]:
    """Return the files and the commands of a page."""
    files: dict[str, str] = {}
    steps: list[Step] = []
    for kind, name, body in _BLOCK.findall(page):
        if name:
            files[name] = body
        elif kind == "console":
            steps.extend(_steps(body))
    return files, steps


def _steps(body: str) -> Iterator[Step]:
    step: Step | None = None
    continued = False
    for line in body.splitlines():
        if line.startswith("$ "):
            if step is not None:
                yield step
            step = Step(line[2:])
        elif step is None:
            raise ValueError(f"a console block starts without a command: {line}")
        elif continued:
            step.command += "\n" + line
        else:
            step.expected += line + "\n"
        continued = (line.startswith("$ ") or continued) and line.endswith("\\")
    if step is not None:
        yield step


def walk(page: str, folder: Path, environment: Mapping[str, str], replace: Mapping[str, str]) -> list[Step]:
    """Run the commands of a page in one shell, and return them with what they printed.

    Args:
        page: its text.
        folder: where the files go and the commands run.
        environment: of the shell.
        replace: what to write instead of parts of the page: ports that are taken, say. Undone in what is printed.
    """
    for old, new in replace.items():
        page = page.replace(old, new)
    files, steps = read_page(page)
    for name, text in files.items():
        (folder / name).write_text(text)
    # Background jobs end with the shell, whatever happens.
    script = "set -u\ntrap 'kill $(jobs -p) 2>/dev/null; wait' EXIT\n"
    script += "".join(f"{step.command}\necho '{_MARK}'\n" for step in steps)
    run = subprocess.run(
        ["bash"],
        input=script,
        cwd=folder,
        env=dict(environment),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=WALK_SECONDS_MAX,
    )
    for step, printed in zip(steps, run.stdout.split(f"{_MARK}\n"), strict=False):
        step.printed = printed
    return steps
