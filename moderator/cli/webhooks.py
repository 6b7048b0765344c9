"""`moderator webhooks`: what webhooks answered, deliveries again, a signed example, and those that are disabled."""

import time
from collections.abc import Iterator
from datetime import datetime
from typing import Annotated, Any

import typer

from moderator.cli.options import JsonOption, read_moment
from moderator.cli.output import console, errors, plain, print_json
from moderator.client import DEFAULT_SOURCE, Client
from moderator.errors import ModeratorError, VerdictNotFound
from moderator.events import event_key
from moderator.printable import printable
from moderator.queue.delivery_log import (
    DeliveryAttempt,
    DeliveryLog,
    TargetSummary,
    find_target,
    shown_target,
    target_id,
)
from moderator.queue.disabled_webhooks import DisabledWebhooks
from moderator.queue.executors import RedisExecutor
from moderator.queue.redelivery import Redelivery
from moderator.queue.revisions import current_verdict
from moderator.settings import load_settings

app = typer.Typer(
    help="See what webhooks answered, deliver to them again, test and enable them.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

SourceOption = Annotated[str, typer.Option(help="As submitted.")]


@app.command("list")
def list_(
    disabled: Annotated[
        bool, typer.Option("--disabled", help="Only those that answered 410 Gone, and so get no deliveries.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """List webhooks, the one with the latest delivery first: how that ended, and how many failed in a row.

    An address is shown without its query and without long parts of its path, which may be secrets. The id before it
    stands for it in the other commands.

    Example:

      moderator webhooks list
    """
    client = Client()
    rows = _targets(_log(client).targets(), DisabledWebhooks(client.redis))
    for row in rows:
        if disabled and row["disabled_at"] is None:
            continue
        if json:
            print_json(row)
            continue
        state = row["error"] or ("" if row["last_at"] is None else f"answered {row['status']}")
        if row["failures"]:
            state = f"{row['failures']} failed in a row; {state}"
        if row["disabled_at"] is not None:
            state = f"disabled since {row['disabled_at'][:16]}"
        console.print(
            plain(f"{row['id']}  {row['target']}  {(row['last_at'] or '')[:19]}  {state}"),
            highlight=False,
            soft_wrap=True,
        )


@app.command()
def show(
    event_id: Annotated[
        str | None, typer.Argument(metavar="[EVENT]", help="Deliveries for this event, as submitted.")
    ] = None,
    source: SourceOption = DEFAULT_SOURCE,
    target: Annotated[
        str | None, typer.Option(help="Deliveries to this webhook: its URL, or its id from `list`.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Show the latest deliveries for an event or to a webhook, latest first. Ends with 1 if there are none.

    MODERATOR_WEBHOOK_LOG bounds how many are kept, for a week after the last one.

    Examples:

      moderator webhooks show upload-4711 --source shop

      moderator webhooks show --target https://example.org/hook
    """
    if (event_id is None) == (target is None):
        raise typer.BadParameter("give an event or --target, not both")
    client = Client()
    log = _log(client)
    if target is not None:
        attempts = log.of_target(find_target(target))
    else:
        attempts = log.of_event(_key(client, str(event_id), source))
    for attempt in attempts:
        if json:
            print_json(attempt.model_dump(mode="json", exclude_none=True))
        else:
            console.print(plain(_line(attempt)), highlight=False, soft_wrap=True)
    if not attempts:
        errors.print("no deliveries are on record", highlight=False)
        raise typer.Exit(1)


@app.command()
def redeliver(
    event_id: Annotated[
        str | None, typer.Argument(metavar="[EVENT]", help="Its verdict is delivered again.")
    ] = None,
    source: SourceOption = DEFAULT_SOURCE,
    target: Annotated[
        str | None, typer.Option(help="Everything since --since to this webhook: its URL, or its id.")
    ] = None,
    since: Annotated[
        str | None, typer.Option(help="Published since: 2026-01-31, 2026-01-31T12:00, or 30d, 12h.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Deliver verdicts to their webhooks again, with the same `webhook-id`: a receiver that has one knows the repeat.

    With --target, verdicts are taken from the stream, which keeps about MODERATOR_STREAM_LENGTH of them; an event is
    known by its webhook for MODERATOR_VERDICT_TTL.

    Examples:

      moderator webhooks redeliver upload-4711 --source shop

      moderator webhooks redeliver --target https://example.org/hook --since 12h
    """

    if (event_id is None) == (target is None) or (target is None) != (since is None):
        raise typer.BadParameter("give an event, or --target and --since")
    client = Client()
    again = Redelivery(RedisExecutor(client.redis), client.dead_letters)
    if event_id is not None:
        key = _key(client, event_id, source)
        if not again.event(key):
            raise VerdictNotFound(f"{key} has no verdict any more, or named no webhook; nothing is delivered")
        done = [key]
    else:
        moment = read_moment(since)
        assert moment is not None
        found: Iterator[str] = again.target(find_target(str(target)), moment, on_gap=_show_gap)
        done = list(found)
    for key in done:
        if json:
            print_json({"event": key})
    if not json:
        console.print(f"delivering {len(done)} again", highlight=False)


@app.command("test")
def send_example(
    url: Annotated[str, typer.Argument(help="Of the receiver.")], json: JsonOption = False
) -> None:
    """Send a signed example verdict to a webhook, and report what it answered. Ends with 1 if it does not accept it.

    Secrets, addresses and format are those of deliveries: MODERATOR_WEBHOOK_SECRET, MODERATOR_WEBHOOK_HOSTS,
    MODERATOR_FETCH_NETWORKS and MODERATOR_VERDICT_FORMAT. Nothing is logged, retried or disabled.

    Example:

      moderator webhooks test https://example.org/hook
    """
    from moderator.delivery.webhook_delivery import check_answer
    from moderator.delivery.webhook_example import example_message
    from moderator.delivery.webhook_post import WebhookPoster

    settings = load_settings()
    poster, started, status = WebhookPoster(settings), time.monotonic(), None
    error: ModeratorError | None = None
    try:
        answer = poster.post(url, example_message(settings.verdict_format))
        status = answer.status
        check_answer(answer)
    except ModeratorError as refused:
        error = refused
    finally:
        poster.close()
    milliseconds = round(1000 * (time.monotonic() - started), 1)
    if json:
        said = None if error is None else {"type": type(error).__name__, "message": printable(str(error))}
        record = {"target": shown_target(url), "id": target_id(url), "accepted": error is None}
        print_json({**record, "status": status, "milliseconds": milliseconds, "error": said})
        if error is not None:
            raise typer.Exit(1)
    elif error is not None:
        raise error
    else:
        console.print(f"accepted: it answered {status} in {milliseconds:.0f} ms", highlight=False)


@app.command()
def enable(targets: Annotated[list[str], typer.Argument(help="URLs, or their ids from `list`.")]) -> None:
    """Enable webhooks again. For missed verdicts: `moderator dead-letters replay --all --error WebhookDisabled`.

    Example:

      moderator webhooks enable https://example.org/hook
    """
    disabled = DisabledWebhooks(Client().redis)
    for target in targets:
        done = disabled.remove(target)
        console.print(
            plain(f"{target}: {'enabled' if done else 'was not disabled'}"), highlight=False, soft_wrap=True
        )


def _log(client: Client) -> DeliveryLog:
    return DeliveryLog(client.redis, load_settings().webhook_log)


def _key(client: Client, event_id: str, source: str) -> str:
    """Return the key of an event, which for an image of a bulk event is known from its verdict."""
    key = event_key(source, event_id)
    current = RedisExecutor(client.redis).run(current_verdict(key))
    return key if current is None else current.key


def _targets(logged: list[TargetSummary], disabled: DisabledWebhooks) -> Iterator[dict[str, Any]]:
    """Yield what is known of each webhook; those that are disabled and no longer in the log come last."""
    off = {target_id(url): (url, since) for url, since in disabled}
    for summary in logged:
        last, (_, since) = summary.last, off.pop(summary.target_id, ("", None))
        yield _row(
            summary.target_id,
            last.target,
            since,
            {
                "last_at": last.at.isoformat(),
                "status": last.status,
                "error": last.error,
                "failures": summary.failures,
            },
        )
    for id, (url, since) in off.items():
        unknown = {"last_at": None, "status": None, "error": None, "failures": 0}
        yield _row(id, shown_target(url), since, unknown)


def _row(id: str, target: str, disabled_at: datetime | None, last: dict[str, Any]) -> dict[str, Any]:
    since = None if disabled_at is None else disabled_at.isoformat()
    return {"id": id, "target": target, **last, "disabled_at": since}


def _line(attempt: DeliveryAttempt) -> str:
    outcome = attempt.error or f"answered {attempt.status}"
    return (
        f"{attempt.at:%Y-%m-%d %H:%M:%S}  {attempt.event}  {attempt.type}  {attempt.target_id} {attempt.target}  "
        f"try {attempt.attempt}  {attempt.milliseconds:.0f} ms  {outcome}"
    )


def _show_gap(gap: Exception) -> None:
    errors.print(plain(str(gap)), style="yellow", highlight=False, soft_wrap=True)
