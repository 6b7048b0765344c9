"""`moderator hooks`: read what object stores report where it waits for a reader."""

import logging
import sys
from threading import Event as Flag
from typing import Annotated

import typer

from moderator.cli.worker import LogLevel
from moderator.events import Priority

app = typer.Typer(
    help="Read what object stores report from a queue of theirs.", no_args_is_help=True, rich_markup_mode=None
)


@app.callback()
def group() -> None:
    """Read what object stores report from a queue of theirs."""


@app.command()
def sqs(
    queue_url: Annotated[str, typer.Argument(help="URL of the queue, as SQS shows it.")],
    policy: Annotated[str | None, typer.Option(help="NAME. Default: the worker's default policy.")] = None,
    priority: Annotated[Priority, typer.Option(help="Bulk waits for interactive.")] = Priority.INTERACTIVE,
    source: Annotated[str, typer.Option(help="Source of the events; part of their identity.")] = "s3",
    log_level: Annotated[LogLevel, typer.Option(help="How much to log on standard error.")] = LogLevel.INFO,
) -> None:
    """Submit the new objects that a queue of Amazon SQS reports, with or without SNS in between.

    Set MODERATOR_BUCKETS to the buckets that may be named, here and for the workers. The queue is read with the
    credentials that boto3 finds, which need sqs:ReceiveMessage and sqs:DeleteMessage. A message is deleted once all of
    its objects are in our queue; if that is full or away, SQS keeps it. A message that cannot be read stays as well:
    give the queue a redrive policy, which moves it to a dead-letter queue.

    Runs until SIGTERM, SIGINT (Ctrl-C), SIGQUIT or SIGHUP. Several may run at once.

    Example:

      moderator hooks sqs https://sqs.eu-west-1.amazonaws.com/123456789012/uploads --policy marketplace
    """
    logging.basicConfig(
        level=log_level.upper(),
        stream=sys.stderr,
        format="%(asctime)s %(levelname)-7s %(name)s: %(message)s",
    )
    from moderator.client import Client
    from moderator.fetching.sources.s3_client import aws_client
    from moderator.settings import load_settings
    from workers.shutdown import Shutdown

    settings = load_settings().model_copy(update={"spool": None})
    options = {"policy": policy, "priority": priority.value, "source": source}
    client = aws_client("sqs", settings)
    from moderator.gateway.hooks.sqs_reader import SqsReader

    reader = SqsReader(client, queue_url, Client(settings=settings), options)
    stopped = Flag()
    with Shutdown() as shutdown:
        shutdown.serve(stopped.set)
        reader.run(stopped)
