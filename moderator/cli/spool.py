"""`moderator spool`: show and deliver events that are kept on this machine's disk until Redis is back."""

import time
from typing import Annotated

import typer

from moderator.cli.options import progress_bar
from moderator.cli.output import console, errors, plain, print_json
from moderator.client import Client
from moderator.errors import QueueFull, SettingsError
from moderator.queue.spool_file import Spool

app = typer.Typer(
    help="See and deliver events that were spooled while Redis was away.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.command()
def show(
    json: Annotated[bool, typer.Option("--json", help="As one line of JSON.")] = False,
) -> None:
    """Show the content of the spool in MODERATOR_SPOOL.

    Messages that no queue would accept are set aside and shown with the reason.

    Example:

      moderator spool show
    """
    _, spool = _open()
    state, rejected = spool.state(), spool.rejected()
    if json:
        problems = [{"id": item.body.get("id"), "problem": item.problem} for item in rejected]
        oldest = None if state.oldest is None else state.oldest.isoformat()
        print_json({"events": state.events, "bytes": state.size, "oldest": oldest, "rejected": problems})
        return
    oldest = "" if state.oldest is None else f", the oldest from {state.oldest:%Y-%m-%d %H:%M:%S} UTC"
    console.print(f"{state.events} events, {state.size} bytes{oldest}", highlight=False)
    for item in rejected:
        console.print(plain(f"set aside: {item.body.get('id')}: {item.problem}"), soft_wrap=True)


@app.command()
def deliver() -> None:
    """Deliver the events in the spool, oldest first.

    Clients do this themselves, in the background and before they submit the next event. Waits while the queue is full.
    Ends with 1 if Redis is still unavailable.

    Example:

      moderator spool deliver
    """
    client, spool = _open()
    with progress_bar() as bar:
        task = bar.add_task("delivering", total=None)
        while True:
            try:
                client.intake.deliver(lambda: bar.advance(task))
                break
            except QueueFull as full:
                time.sleep(full.retry_after)
    client.close()
    console.print(f"delivered {bar.tasks[0].completed:.0f} messages", highlight=False)
    if not spool.empty():
        errors.print("another process is delivering the rest", highlight=False)


def _open() -> tuple[Client, Spool]:
    client = Client()
    if client.spool is None:
        raise SettingsError("there is no spool; name its folder in MODERATOR_SPOOL")
    return client, client.spool
