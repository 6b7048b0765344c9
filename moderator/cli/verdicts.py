"""`moderator verdicts`: read published verdicts, and revise them."""

import time
from enum import StrEnum
from typing import Annotated

import typer
from redis.exceptions import RedisError
from rich.text import Text

from moderator.backoff import jittered
from moderator.cli.output import COLOURS, console, errors, plain, print_json
from moderator.client import DEFAULT_SOURCE, Client
from moderator.errors import VerdictsMissed, VerdictTimeout
from moderator.events import event_key
from moderator.queue.executors import RedisExecutor
from moderator.queue.ledger import Ledger
from moderator.queue.subscriptions import Subscriptions
from moderator.settings import load_settings
from moderator.verdicts import Decision, Verdict

#: Seconds before `tail --follow` retries a server that does not answer.
RETRY_DELAY_SECONDS = 1.0


class LaterDecision(StrEnum):
    """What a later decision may be."""

    ALLOW = Decision.ALLOW.value
    BLOCK = Decision.BLOCK.value


app = typer.Typer(
    help="Read published verdicts, and revise them.", no_args_is_help=True, rich_markup_mode=None
)


@app.command()
def tail(
    lines: Annotated[int, typer.Option("-n", "--lines", min=0, help="Start with the last N.")] = 10,
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Follow new ones until Ctrl-C.")] = False,
    json: Annotated[bool, typer.Option("--json", help="One verdict per line, as JSON.")] = False,
) -> None:
    """Show the latest verdicts from the stream, oldest first.

    Example:

      moderator verdicts tail -f --json | jq 'select(.decision == "block")'
    """
    store = Client().verdicts
    position = store.position()
    for verdict in store.newest(lines) if lines else []:
        _show(verdict, json)
    while follow:
        try:
            for entry, verdict in store.tail(position, on_gap=_show_gap):
                _show(verdict, json)
                position = entry
        except RedisError as error:
            errors.print(f"Redis does not answer ({error}); waiting for it", markup=False, highlight=False)
            time.sleep(jittered(RETRY_DELAY_SECONDS))


@app.command()
def show(
    event_id: Annotated[str, typer.Argument(help="As submitted.")],
    source: Annotated[str, typer.Option(help="As submitted.")] = DEFAULT_SOURCE,
    wait: Annotated[float, typer.Option(help="Seconds to wait for it, if it is not there yet.")] = 0.0,
) -> None:
    """Show the verdict of one event, as JSON. Ends with 1 if there is none.

    Example:

      moderator verdicts show 6f1c0e9a --wait 30
    """
    client = Client()
    verdict = client.verdict(event_id, source=source)
    if verdict is None and wait > 0:
        verdict = client.wait(event_id, source=source, timeout=wait)
    if verdict is None:
        raise VerdictTimeout(f"no verdict for {event_id} from source {source} (yet, or any more)")
    console.print_json(verdict.model_dump_json())


@app.command()
def revise(
    event_id: Annotated[str, typer.Argument(metavar="EVENT", help="As submitted.")],
    decision: Annotated[LaterDecision, typer.Option(help="The later decision.")],
    reason: Annotated[str, typer.Option(help="Why, for the record.")],
    source: Annotated[str, typer.Option(help="As submitted.")] = DEFAULT_SOURCE,
    by: Annotated[
        str | None, typer.Option(help="Who, for the record. Default: the user of the system.")
    ] = None,
    expect: Annotated[
        str | None,
        typer.Option(
            help="Change nothing if the verdict has another digest: 12 digits of the SHA-256 of its JSON."
        ),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the new verdict, as JSON.")] = False,
) -> None:
    """Decide otherwise about an event that has a verdict.

    A new verdict is published that points at the one it revises: in the stream, to the event's webhook (as
    `verdict.revised`) and to other consumers. The first one stays on record. If several people revise one verdict at
    once, one of them succeeds.

    Example:

      moderator verdicts revise upload-4711 --source shop --decision allow --reason "appeal upheld"
    """
    from moderator.policies.audit import current_user

    settings = load_settings()
    executor = RedisExecutor(Client().redis)
    ledger = Ledger(executor, settings.redeliver_after, subscriptions=Subscriptions.of(settings))
    verdict = ledger.revise(
        event_key(source, event_id),
        Decision(decision),
        by=by or current_user(),
        reason=reason,
        expected=expect,
        ttl=settings.verdict_ttl,
        stream_length=settings.most_in_stream,
    )
    _show(verdict, json)


def _show_gap(gap: VerdictsMissed) -> None:
    errors.print(str(gap), style="yellow", highlight=False, markup=False, soft_wrap=True)


def _show(verdict: Verdict, json: bool) -> None:
    if json:
        print_json(verdict)
        return
    reason = verdict.error.type if verdict.error else verdict.top_category
    score = "" if verdict.unsafe_score is None else f"{verdict.unsafe_score:.2f}"
    console.print(
        f"{verdict.created_at:%H:%M:%S} ",
        Text(f"{verdict.decision:6} ", COLOURS[verdict.decision]),
        plain(f"{reason or '':14} {score:4}  {verdict.source}:{verdict.event_id}"),
        highlight=False,
        soft_wrap=True,
    )
