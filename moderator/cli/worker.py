"""`moderator worker`: serve the queue."""

import logging
import os
import sys
from enum import StrEnum
from typing import Annotated

import typer

from moderator.settings import load_settings


class LogLevel(StrEnum):
    """Least severe of what is logged."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


def worker(
    log_level: Annotated[LogLevel, typer.Option(help="How much to tell on standard error.")] = LogLevel.INFO,
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

    # Torch's threads wait for each other by spinning, by default so long that one busy core makes a forward a
    # hundred times slower. Must be set before torch is loaded; 1,000 turns cost an idle machine nothing.
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    # The model's threads ask for the interpreter a few hundred times per batch; by default each may wait 5 ms for
    # a thread that decodes. Seconds.
    sys.setswitchinterval(0.0005)
    from workers.memory import bound_arenas

    bound_arenas()
    from workers.runner import Worker  # loads the model libraries

    Worker(load_settings()).run()
