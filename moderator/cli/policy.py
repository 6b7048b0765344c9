"""`moderator policy`: look at policies, check, release and activate them."""

import json
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from moderator.errors import ModeratorError, PolicyError, PolicyInvalid, PolicyNotFound
from moderator.policies.catalogue import Catalogue
from moderator.policies.characters import shown
from moderator.policies.document import read_document
from moderator.policies.fields import threshold_text
from moderator.policies.lint import Severity, lint
from moderator.policies.loader import POINTER_FILE, Problem, key_text, read_file
from moderator.policies.references import parse_reference
from moderator.policies.releases import LOCK_FILE
from moderator.policies.requirements import EncoderFacts, unmet
from moderator.policies.schema import Policy
from moderator.policies.snapshot import Snapshot
from moderator.policies.store import PolicyStore
from moderator.settings import load_settings
from moderator.signals.files import SIGNAL_FILES

app = typer.Typer(no_args_is_help=True, help="Look at policies, check, release and activate them.")

PoliciesOption = Annotated[
    Path | None,
    typer.Option("--policies", help="Folder of policies. Default: the setting MODERATOR_POLICIES."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON object per line, for programs.")]
VersionArgument = Annotated[str, typer.Argument(metavar="NAME@VERSION", help="Such as marketplace@2.")]

_COLOURS = {Severity.ERROR: "red", Severity.WARNING: "yellow", Severity.HINT: "cyan"}


@dataclass(frozen=True)
class Row:
    """One line of `lint`: a problem of a file or a finding in a valid policy."""

    policy: str | None
    file: str | None
    line: int | None
    key: str
    severity: Severity
    message: str

    def concerns(self, references: Iterable[tuple[str, int | None]]) -> bool:
        """Whether it is about one of these policies."""
        if self.policy is None:
            return False
        name, _, version = self.policy.partition("@")
        return any(name == n and (v is None or version in ("", str(v))) for n, v in references)


@app.command("list")
def list_(policies: PoliciesOption = None, as_json: JsonOption = False) -> None:
    """List all versions of all policies and what each is used for."""
    catalogue = _catalogue(policies)
    snapshot = catalogue.snapshot
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("policy", "version", "state", "categories", "prompts", "digest"):
        table.add_column(
            heading, justify="right" if heading in ("version", "categories", "prompts") else "left"
        )
    for name, version in sorted({*snapshot.policies, *snapshot.broken}):
        facts = _facts(snapshot, name, version)
        if as_json:
            typer.echo(json.dumps(facts, ensure_ascii=False))
            continue
        policy = snapshot.policies.get((name, version))
        sizes = (str(len(policy.categories)), str(policy.prompt_count)) if policy else ("", "")
        digest = policy.digest[:12] if policy else ""
        table.add_row(name, str(version), _state(facts), *sizes, digest)
    if not as_json:
        Console().print(table)
    _warn(catalogue)


@app.command()
def show(
    reference: Annotated[
        str, typer.Argument(metavar="NAME[@VERSION]", help="Without a version: the active one.")
    ],
    policies: PoliciesOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show one version of a policy: its prompts, rules and thresholds."""
    name, version = _reference(reference)
    catalogue = _catalogue(policies)
    policy = catalogue.get(name, version)
    facts = _facts(catalogue.snapshot, policy.name, policy.version, policy)
    if as_json:
        typer.echo(json.dumps({**facts, **policy.model_dump(mode="json")}, ensure_ascii=False))
        return
    console = Console()
    console.print(Text.assemble((policy.reference, "bold"), "  ", _state(facts)))
    if policy.description:
        console.print(Text(policy.description))
    console.print(Text(f"digest     {policy.digest}"))
    console.print(Text(f"templates  {' | '.join(policy.templates)}"))
    console.print(Text(f"safe       {', '.join(policy.safe) or '(none shared)'}"))
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 1, 0))
    for heading in ("category", "rule", "review", "block"):
        table.add_column(heading, no_wrap=True, overflow="fold")
    table.add_column("prompts", ratio=1)
    for title, category in policy.categories.items():
        rule, prompts = category.rule.value, Text.assemble(("unsafe: ", "red"), ", ".join(category.unsafe))
        if category.signal is not None:
            rule, prompts = "signal", Text(category.signal)
        if category.safe:
            prompts.append_text(Text.assemble("\n", ("safe: ", "green"), ", ".join(category.safe)))
        review = "-" if category.review is None else f"{category.review:g}"
        table.add_row(title, rule, review, threshold_text(category.block), prompts)
    console.print(table)


@app.command("lint")
def lint_(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME[@VERSION]]...", help="Without any: all policies.")
    ] = None,
    policies: PoliciesOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check that all files load, and find what is valid and probably not meant. Ends with 1 on an error."""
    wanted = [_reference(name) for name in names or ()]
    folder = _folder(policies)
    try:
        catalogue = Catalogue(folder)
        snapshot, problems = catalogue.snapshot, catalogue.problems
        there = {*snapshot.policies, *snapshot.broken}
        for name, version in wanted:
            if (name, version) not in there and (version is not None or name not in {n for n, _ in there}):
                catalogue.get(name, version)  # raises, and says what there is
    except PolicyInvalid as error:
        snapshot, problems = Snapshot(), (error,)
    rows = [row for problem in problems for row in _problem_rows(problem)]
    rows += [_row(stray, Severity.WARNING) for stray in snapshot.strays]
    checked = [p for k, p in sorted(snapshot.policies.items()) if k not in snapshot.broken]
    for policy in checked:
        rows += _finding_rows(folder, policy)
        # A released version that no pointer names may lie there until its file is fetched.
        idle = (policy.name, policy.version) in snapshot.releases and not _in_use(snapshot, policy)
        rows += _unmet_rows(folder, policy, Severity.WARNING if idle else Severity.ERROR)
    if wanted:
        rows = [row for row in rows if row.concerns(wanted)]
        checked = [p for p in checked if any(p.name == n and v in (None, p.version) for n, v in wanted)]
    _print_rows(rows, as_json)
    counts = {s: sum(row.severity is s for row in rows) for s in Severity}
    if not as_json:
        told = ", ".join(f"{n} {s}{'' if n == 1 else 's'}" for s, n in counts.items())
        Console().print(f"{len(checked)} valid version{'' if len(checked) == 1 else 's'}: {told}")
    if counts[Severity.ERROR]:
        raise typer.Exit(1)


@app.command()
def release(reference: VersionArgument, policies: PoliciesOption = None, as_json: JsonOption = False) -> None:
    """Release a version: from now on it never changes, and may be activated."""
    name, version = _full_reference(reference)
    folder = _folder(policies)

    def check(policy: Policy) -> None:
        rows = [*_finding_rows(folder, policy), *_unmet_rows(folder, policy)]
        _refuse(f"{policy.reference} is not released", rows, as_json)

    policy = PolicyStore(folder, check).release(name, version)
    if as_json:
        typer.echo(json.dumps({"name": name, "version": version, "digest": policy.digest, "released": True}))
    else:
        typer.echo(f"{policy.reference} is released with the digest {policy.digest}")
        typer.echo(f"To put it to work: moderator policy activate {policy.reference}")


@app.command()
def activate(
    reference: VersionArgument, policies: PoliciesOption = None, as_json: JsonOption = False
) -> None:
    """Let a released version decide. Running workers take it up without a restart."""
    name, version = _full_reference(reference)
    folder = _folder(policies)

    def check(policy: Policy) -> None:
        rows = _unmet_rows(folder, policy, encoder=_encoder_facts)
        _refuse(f"{policy.reference} is not activated", rows, as_json)

    change = PolicyStore(folder, check).activate(name, version)
    before, pointer = change.before, change.now
    if as_json:
        was = before.active if before else None
        typer.echo(json.dumps({"name": name, **pointer.model_dump(mode="json"), "previous": was}))
        return
    was_text = (
        "" if before is None else " already" if before == pointer else f" (before: version {before.active})"
    )
    typer.echo(f"{name}: version {version} is active{was_text}")
    if pointer.shadow:
        typer.echo(f"shadow: {', '.join(map(str, pointer.shadow))}")
    if pointer.canary:
        typer.echo(f"canary: version {pointer.canary.version} decides for {pointer.canary.percent:g} %")


def _folder(policies: Path | None) -> Path:
    return policies if policies is not None else load_settings().policies


def _catalogue(policies: Path | None) -> Catalogue:
    return Catalogue(_folder(policies))


def _reference(text: str) -> tuple[str, int | None]:
    try:
        return parse_reference(text)
    except PolicyNotFound as error:
        raise typer.BadParameter(str(error)) from error


def _full_reference(text: str) -> tuple[str, int]:
    name, version = _reference(text)
    if version is None:
        raise typer.BadParameter(f"name the version, too, such as {name}@1")
    return name, version


def _facts(snapshot: Snapshot, name: str, version: int, policy: Policy | None = None) -> dict[str, Any]:
    policy = policy or snapshot.policies.get((name, version))
    broken = snapshot.broken.get((name, version))
    standing = snapshot.standings.get(name)
    canary = standing.pointer.canary if standing and standing.canary else None
    return {
        "name": name,
        "version": version,
        "digest": policy.digest if policy else None,
        "released": (name, version) in snapshot.releases,
        "active": bool(standing and standing.active.version == version),
        "shadow": bool(standing and any(p.version == version for p in standing.shadows)),
        "canary_percent": canary.percent if canary and canary.version == version else None,
        "problem": str(broken) if broken else None,
    }


def _state(facts: dict[str, Any]) -> Text:
    roles = [Text("active", "green")] if facts["active"] else []
    if facts["canary_percent"] is not None:
        roles.append(Text(f"canary {facts['canary_percent']:g} %", "magenta"))
    if facts["shadow"]:
        roles.append(Text("shadow", "blue"))
    if not roles:
        roles.append(Text("released") if facts["released"] else Text("draft", "dim"))
    if facts["problem"]:
        roles.append(Text("broken", "red"))
    return Text(", ").join(roles)


def _in_use(snapshot: Snapshot, policy: Policy) -> bool:
    standing = snapshot.standings.get(policy.name)
    return standing is not None and policy in (standing.active, standing.canary, *standing.shadows)


def _warn(catalogue: Catalogue) -> None:
    counts = {"problem": len(catalogue.problems), "unread file": len(catalogue.snapshot.strays)}
    told = ", ".join(f"{n} {noun}{'' if n == 1 else 's'}" for noun, n in counts.items() if n)
    if told:
        typer.echo(f"{told} in {catalogue.folder}: run 'moderator policy lint'", err=True)


def _encoder_facts() -> EncoderFacts | None:
    """The encoder of the settings; None where it cannot be loaded on this machine, which is said."""
    from moderator.encoders.registry import encoder_of  # the model libraries take seconds to load

    try:
        encoder = encoder_of(load_settings())
    except ModeratorError as error:
        typer.echo(f"not compared with the encoder, which cannot be loaded here: {error}", err=True)
        return None
    return encoder.identity, encoder.dimension


def _problem_rows(error: PolicyError) -> list[Row]:
    if not isinstance(error, PolicyInvalid):
        return [Row(_named_in(str(error)), None, None, "", Severity.ERROR, str(error))]
    rows: list[Row] = []
    for problem in error.args:
        if isinstance(problem, PolicyError):
            rows += _problem_rows(problem)
        elif isinstance(problem, Problem):
            rows.append(_row(problem, Severity.ERROR))
    return rows


def _row(problem: Problem, severity: Severity) -> Row:
    path = Path(problem.file)
    if path.name in (POINTER_FILE, LOCK_FILE):
        named = problem.key.split(".")[0] or None
    else:
        named = f"{path.parent.name}@{path.stem}" if path.stem.isdigit() else path.parent.name
    return Row(named, problem.file, problem.line, problem.key, severity, problem.message)


def _named_in(message: str) -> str | None:
    """The first `name@version` in a message."""
    words = (word.strip(":,.") for word in message.split())
    return next((word for word in words if "@" in word), None)


def _finding_rows(folder: Path, policy: Policy) -> list[Row]:
    """What `lint` finds in a valid policy."""
    path = folder / policy.name / f"{policy.version}.yaml"
    findings = lint(policy)
    document = read_document(read_file(path)) if findings else None
    return [
        Row(policy.reference, str(path), document.line_of(f.path), key_text(f.path), f.severity, f.message)
        for f in findings
        if document is not None
    ]


def _unmet_rows(
    folder: Path,
    policy: Policy,
    severity: Severity = Severity.ERROR,
    encoder: Callable[[], EncoderFacts | None] = lambda: None,
) -> list[Row]:
    """What the signals of a valid policy lack on this machine."""
    path = folder / policy.name / f"{policy.version}.yaml"
    rows: list[Row] = []
    for n, error in unmet(policy, (folder, load_settings().cache / SIGNAL_FILES), encoder):
        key = ("signals", n)
        line = read_document(read_file(path)).line_of(key)
        message = f"'{policy.signals[n].name}' cannot be used here, and each event would be an error: {error}"
        rows.append(Row(policy.reference, str(path), line, key_text(key), severity, message))
    return rows


def _refuse(what: str, rows: Iterable[Row], as_json: bool) -> None:
    """End with 1 where a row is an error."""
    errors = [row for row in rows if row.severity is Severity.ERROR]
    if errors:
        _print_rows(errors, as_json)
        typer.echo(f"{what}: correct the errors first", err=True)
        raise typer.Exit(1)


def _print_rows(rows: Iterable[Row], as_json: bool) -> None:
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
