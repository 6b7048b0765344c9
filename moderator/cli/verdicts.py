"""`moderator verdicts`: read published verdicts."""

import time
from typing import Annotated

import typer
from redis.exceptions import RedisError
from rich.text import Text

from moderator.backoff import jittered
from moderator.cli.output import COLOURS, console, errors, plain, print_json
from moderator.client import DEFAULT_SOURCE, Client
from moderator.errors import VerdictsMissed, VerdictTimeout
from moderator.verdicts import Verdict

#: Seconds before `tail --follow` retries a server that does not answer.
RETRY_DELAY_SECONDS = 1.0

app = typer.Typer(help="Read published verdicts.", no_args_is_help=True, rich_markup_mode=None)


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
