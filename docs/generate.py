"""Writes what docs show of the code (settings, commands, metrics, examples), and the package's JSON Schemas.

`--check` fails where a file is not as it should be.

python -m docs.generate [--check]
"""

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer
from typer.testing import CliRunner

from docs.examples import with_examples
from docs.policy_reference import policy_reference_page
from docs.schemas import SCHEMAS
from moderator.cli.main import app
from moderator.gateway import gateway_metrics
from moderator.gateway.hooks import hook_metrics
from moderator.metrics import MetricRow
from moderator.settings import SECTIONS, Section
from workers.worker_metrics import describe

ROOT = Path(__file__).parent.parent
#: Defaults that depend on the machine.
SHOWN = {"cache": "the user's cache folder", "policies": "`./policies`, or the packaged ones"}


def settings_page() -> str:
    """The page on settings, by section."""
    lines = [
        "# Settings",
        "",
        "Read from the environment, `.env`, or `moderator.toml` (without the prefix, in lower case: `redis_url`);",
        "the first of these that has a value decides. Generated from the code by `make docs`.",
    ]
    return "\n".join([*lines, *map(settings_section, SECTIONS)]) + "\n"


def settings_section(section: type[Section]) -> str:
    """What a section is about, and one row for each of its settings."""
    title = section.__name__.removesuffix("Settings")
    lines = ["", f"## {title}", "", f"{section.__doc__}", ""]
    lines += ["| variable | default | meaning |", "| --- | --- | --- |"]
    for name, field in section.model_fields.items():
        default = field.get_default(call_default_factory=True)
        plain = f"{default:g}" if isinstance(default, float) else str(default)
        if isinstance(default, tuple):
            plain = ",".join(map(str, default))
        text = SHOWN.get(name) or (f"`{plain}`" if default not in (None, (), "") else "none")
        lines.append(f"| `MODERATOR_{name.upper()}` | {text} | {field.description} |")
    return "\n".join(lines)


def metrics_page() -> str:
    """The page on metrics."""
    lines = [
        "# Metrics",
        "",
        "The worker serves them on `/metrics`. Generated from the code by `make docs`.",
        "",
        "| name | type | labels | meaning |",
        "| --- | --- | --- | --- |",
    ]
    lines += map(metric_line, describe())
    lines += [
        "",
        "The gateway serves its own.",
        "",
        *lines[4:6],
        *map(metric_line, (*gateway_metrics.ROWS, *hook_metrics.ROWS)),
    ]
    return "\n".join(lines) + "\n"


def metric_line(row: MetricRow) -> str:
    """The line of a metric."""
    labels = ", ".join(f"`{label}`" for label in row.labels)
    return f"| `{row.name}` | {row.kind} | {labels} | {row.help} |"


def commands_page() -> str:
    """The page on commands: each one's help as the terminal shows it at 80 columns."""
    lines = ["# Commands", "", "What `--help` prints. Generated from the code by `make docs`.", ""]
    for words in command_words(typer.main.get_command(app)):
        result = CliRunner().invoke(app, [*words, "--help"], env={"COLUMNS": "80", "TERMINAL_WIDTH": "80"})
        title = " ".join(["moderator", *words])
        lines += [f"## {title}", "", "```text", result.output.rstrip(), "```", ""]
    return "\n".join(lines)


def command_words(command: Any, words: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The command and all below it."""
    yield words
    for name, child in getattr(command, "commands", {}).items():
        yield from command_words(child, (*words, name))


def expected() -> dict[Path, str]:
    """What each file should hold."""
    return {
        ROOT / "docs" / "settings.md": settings_page(),
        ROOT / "docs" / "metrics.md": metrics_page(),
        ROOT / "docs" / "commands.md": commands_page(),
        ROOT / "docs" / "policy-reference.md": policy_reference_page(),
        **{
            ROOT / "moderator" / "data" / "schemas" / f"{name}.json": json.dumps(schema(), indent=2) + "\n"
            for name, schema in SCHEMAS.items()
        },
        **{
            page: with_examples(page.read_text(), ROOT)
            for page in sorted((ROOT / "docs" / "clients").glob("*.md"))
        },
    }


def main() -> None:
    """Write or check."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--check", action="store_true", help="change nothing; end with 1 where something is stale"
    )
    check = parser.parse_args().check
    stale = [path for path, text in expected().items() if not path.exists() or path.read_text() != text]
    for path in stale:
        if not check:
            path.write_text(expected()[path])
        print(f"{'stale' if check else 'written'}: {path.relative_to(ROOT)}")
    if check and stale:
        sys.exit("run `make docs`")


if __name__ == "__main__":
    main()
