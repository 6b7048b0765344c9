"""`moderator worker`: serve the queue."""

import logging
import sys
from typing import Annotated

import typer

from moderator.settings import load_settings


def worker(
    log_level: Annotated[str, typer.Option(help="debug, info, warning or error.")] = "info",
) -> None:
    """Serve the queue: take events from Redis, judge them, publish verdicts.

    Runs until SIGTERM or Ctrl-C; then it finishes what it has in hand and leaves the rest on the queue. Run
    one per GPU, or one per machine without. Metrics and health: see MODERATOR_METRICS_PORT.

    Example:

      MODERATOR_REDIS_URL=redis://localhost:6379/0 moderator worker
    """
    logging.basicConfig(
        level=log_level.upper(),
        stream=sys.stderr,
        format="%(asctime)s %(levelname)-7s %(name)s: %(message)s",
    )
    # Libraries that tell more than an operator wants to read.
    for name in ("celery", "kombu", "amqp", "transformers", "PIL"):
        logging.getLogger(name).setLevel(max(logging.WARNING, logging.getLogger().level))

    from workers.runner import Worker  # loads the model libraries

    Worker(load_settings()).run()
