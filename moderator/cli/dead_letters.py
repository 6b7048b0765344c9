"""`moderator dead-letters`: show events and deliveries that failed permanently, and retry them."""

from typing import Annotated

import typer
from rich.padding import Padding

from moderator.cli.output import console, plain, print_json
from moderator.client import Client
from moderator.errors import DeadLetterNotFound, ModeratorError, QueueUnavailable
from moderator.queue.dead_letter_store import DeadLetter
from moderator.queue.ledger import Acceptance

app = typer.Typer(
    help="See events and deliveries that failed for good, and try them again.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.command("list")
def list_(
    limit: Annotated[int, typer.Option(min=1, help="Most to show, newest first.")] = 50,
    json: Annotated[bool, typer.Option("--json", help="One dead letter per line, as JSON.")] = False,
) -> None:
    """List dead letters, newest first.

    Example:

      moderator dead-letters list --limit 10
    """
    letters = Client().dead_letters
    newest = letters.newest(limit)
    for letter in newest:
        if json:
            print_json(_record(letter))
            continue
        # Keys and messages are never cut: `replay` takes the key, and the message ends with the remedy.
        line = f"{letter.died_at:%Y-%m-%d %H:%M:%S}  {letter.key}  {letter.error}"
        console.print(plain(line), soft_wrap=True)
        console.print(Padding(plain(letter.message), (0, 0, 0, 4)))
    if not json:
        console.print(f"{len(newest)} of {len(letters)}", highlight=False)


@app.command()
def show(key: Annotated[str, typer.Argument(help="As `list` prints it.")]) -> None:
    """Show one dead letter with its event, as JSON.

    Example:

      moderator dead-letters show moderator:6f1c0e9a
    """
    console.print_json(data=_record(_find(Client(), key)))


@app.command()
def replay(
    keys: Annotated[list[str] | None, typer.Argument(help="As `list` prints them.")] = None,
    all_: Annotated[bool, typer.Option("--all", help="All of them.")] = False,
    error: Annotated[str | None, typer.Option(help="With --all: only those with this error type.")] = None,
) -> None:
    """Submit dead events again, and deliver webhooks again.

    Examples:

      moderator dead-letters replay moderator:6f1c0e9a

      moderator dead-letters replay --all --error FetchFailed
    """
    if bool(keys) == all_ or (error and not all_):
        raise typer.BadParameter("name dead letters, or say --all (with --error to choose)")
    client = Client()
    chosen = [_find(client, key) for key in keys] if keys else list(client.dead_letters)
    done = 0
    for letter in chosen:
        if error and letter.error != error:
            continue
        try:
            acceptance = client.dead_letters.replay(letter)
        except QueueUnavailable:  # the next ones would wait for it as well
            raise
        except ModeratorError as problem:
            _report(letter, str(problem))
        else:
            if acceptance is Acceptance.ACCEPTED:
                done += 1
            else:
                _report(letter, f"not replayed, but forgotten: submitted again since, and {acceptance}")
    console.print(f"replayed {done}", highlight=False)


@app.command()
def drop(keys: Annotated[list[str], typer.Argument(help="As `list` prints them.")]) -> None:
    """Forget dead letters.

    Example:

      moderator dead-letters drop moderator:6f1c0e9a
    """
    client = Client()
    done = 0
    for letter in [_find(client, key) for key in keys]:
        try:
            client.dead_letters.drop(letter)
            done += 1
        except DeadLetterNotFound as problem:
            _report(letter, str(problem))
    console.print(f"dropped {done}", highlight=False)


def _report(letter: DeadLetter, what: str) -> None:
    console.print(plain(f"{letter.key}: {what}"), style="yellow")


def _find(client: Client, key: str) -> DeadLetter:
    letter = client.dead_letters.get(key)
    if letter is None:
        raise DeadLetterNotFound(f"no dead letter {key}; `moderator dead-letters list` shows their keys")
    return letter


def _record(letter: DeadLetter) -> dict[str, object]:
    return letter.model_dump(mode="json", exclude_none=True)
