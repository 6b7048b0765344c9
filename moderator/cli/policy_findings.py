"""Rows that show people and programs what is wrong in a folder of policies."""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

import typer
from rich.console import Console
from rich.markup import escape

from moderator.errors import EncoderForeign, PolicyError, PolicyInvalid
from moderator.policies.characters import shown
from moderator.policies.lint import lint
from moderator.policies.lint_finding import LintFinding, Severity
from moderator.policies.loader import POINTER_FILE, Problem, key_text, read_file
from moderator.policies.releases import LOCK_FILE
from moderator.policies.requirements import EncoderFacts, require_encoder, unmet
from moderator.policies.schema import Policy
from moderator.policies.yaml_reader import read_document
from moderator.settings import load_settings
from moderator.signals.signal_files import SIGNAL_FILES

_COLOURS = {Severity.ERROR: "red", Severity.WARNING: "yellow", Severity.HINT: "cyan"}


@dataclass(frozen=True)
class FindingRow:
    """One line of `lint`: a problem in a file or a finding in a valid policy."""

    policy: str | None
    file: str | None
    line: int | None
    key: str
    severity: Severity
    message: str

    def concerns(self, references: Iterable[tuple[str, int | None]]) -> bool:
        """Return whether the row is about one of these policies."""
        if self.policy is None:
            return False
        name, _, version = self.policy.partition("@")
        return any(name == n and (v is None or version in ("", str(v))) for n, v in references)


def problem_rows(error: PolicyError) -> list[FindingRow]:
    """Return a row for each problem that an error of the folder lists."""
    if not isinstance(error, PolicyInvalid):
        return [FindingRow(_named_in(str(error)), None, None, "", Severity.ERROR, str(error))]
    rows: list[FindingRow] = []
    for problem in error.args:
        if isinstance(problem, PolicyError):
            rows += problem_rows(problem)
        elif isinstance(problem, Problem):
            rows.append(problem_row(problem, Severity.ERROR))
    return rows


def problem_row(problem: Problem, severity: Severity) -> FindingRow:
    """Return the row for a problem, with the policy of its file."""
    path = Path(problem.file)
    if path.name in (POINTER_FILE, LOCK_FILE):
        named = problem.key.split(".")[0] or None
    else:
        named = f"{path.parent.name}@{path.stem}" if path.stem.isdigit() else path.parent.name
    return FindingRow(named, problem.file, problem.line, problem.key, severity, problem.message)


def _named_in(message: str) -> str | None:
    """Return the first `name@version` in a message."""
    words = (word.strip(":,.") for word in message.split())
    return next((word for word in words if "@" in word), None)


def finding_rows(
    folder: Path, policy: Policy, findings: Sequence[LintFinding] | None = None
) -> list[FindingRow]:
    """Return a row for each finding in a valid policy; without any given, for those of the pure lint."""
    path = folder / policy.name / f"{policy.version}.yaml"
    findings = lint(policy) if findings is None else findings
    document = read_document(read_file(path)) if findings else None
    return [
        FindingRow(
            policy.reference, str(path), document.line_of(f.path), key_text(f.path), f.severity, f.message
        )
        for f in findings
        if document is not None
    ]


def unmet_rows(
    folder: Path,
    policy: Policy,
    severity: Severity = Severity.ERROR,
    encoder: Callable[[], EncoderFacts | None] = lambda: None,
) -> list[FindingRow]:
    """Return a row for each part of a valid policy that cannot be used on this machine.

    Args:
        folder: of policies.
        policy: a valid one.
        severity: of the rows.
        encoder: called at most once, only if the policy was made for an encoder. If it returns None, encoders are not
            compared.
    """
    encoder = cache(encoder)
    path = folder / policy.name / f"{policy.version}.yaml"
    rows: list[FindingRow] = []
    for n, error in unmet(policy, (folder, load_settings().cache / SIGNAL_FILES), encoder):
        key = ("signals", n)
        line = read_document(read_file(path)).line_of(key)
        message = f"'{policy.signals[n].name}' cannot be used here, and each event would be an error: {error}"
        rows.append(FindingRow(policy.reference, str(path), line, key_text(key), severity, message))
    facts = encoder() if policy.encoders else None
    if facts is not None:
        try:
            require_encoder(policy, facts[0])
        except EncoderForeign as error:
            line = read_document(read_file(path)).line_of(("encoders",))
            rows.append(FindingRow(policy.reference, str(path), line, "encoders", severity, str(error)))
    return rows


def refuse_errors(what: str, rows: Iterable[FindingRow], as_json: bool) -> None:
    """Print the rows that are errors and end with 1, if there are any."""
    errors = [row for row in rows if row.severity is Severity.ERROR]
    if errors:
        print_rows(errors, as_json)
        typer.echo(f"{what}: correct the errors first", err=True)
        raise typer.Exit(1)


def print_rows(rows: Iterable[FindingRow], as_json: bool) -> None:
    """Print rows as text or as JSON Lines."""
    console = Console(highlight=False, soft_wrap=True)
    for row in rows:
        if as_json:
            typer.echo(json.dumps(asdict(row), ensure_ascii=False))
            continue
        place = f"{row.file}:{row.line}: " if row.file else ""
        key = f"{row.key}: " if row.key else ""
        colour = _COLOURS[row.severity]
        console.print(
            f"{escape(place)}[{colour}]{row.severity}[/{colour}]: {escape(shown(key + row.message))}"
        )
