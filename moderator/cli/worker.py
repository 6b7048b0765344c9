"""`moderator worker`: serve the queue."""

import faulthandler
import logging
import signal
import sys
from enum import StrEnum
from typing import Annotated

import typer

from moderator.cli.worker_server import serve_with_server
from moderator.settings import load_settings


class LogLevel(StrEnum):
    """Lowest severity that is logged."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


def worker(
    log_level: Annotated[LogLevel, typer.Option(help="How much to log on standard error.")] = LogLevel.INFO,
    with_server: Annotated[
        bool,
        typer.Option(
            "--with-server",
            help="For trying: also run a Redis-compatible server, at the address in MODERATOR_REDIS_URL. It keeps "
            "nothing once it ends.",
        ),
    ] = False,
) -> None:
    """Serve the queue: take events from Redis, judge them, publish verdicts.

    Runs until SIGTERM, SIGINT (Ctrl-C), SIGQUIT or SIGHUP; then it finishes the events in flight, leaves the rest on
    the queue, and exits with 0. A second signal ends it at once with 128 + the signal's number (143 for SIGTERM, 130
    for Ctrl-C): events in flight are redelivered after MODERATOR_REDELIVER_AFTER. Under nohup it ignores SIGHUP.
    Changed policies are read without a signal. SIGUSR1 prints what each thread is doing.

    Run one per GPU, or one per machine without a GPU. Metrics and health: see MODERATOR_METRICS_PORT.

    Examples:

      MODERATOR_REDIS_URL=redis://localhost:6379/0 moderator worker

      moderator worker --with-server
    """
    if with_server:
        raise typer.Exit(serve_with_server(load_settings().redis_url, ["--log-level", log_level]))
    logging.basicConfig(
        level=log_level.upper(),
        stream=sys.stderr,
        format="%(asctime)s %(levelname)-7s %(name)s: %(message)s",
    )
    # These libraries log more than an operator needs.
    for name in ("celery", "kombu", "amqp", "transformers", "PIL"):
        logging.getLogger(name).setLevel(max(logging.WARNING, logging.getLogger().level))

    faulthandler.register(signal.SIGUSR1)
    # The model's threads need the interpreter a few hundred times per batch; by default, each time may mean a wait of
    # 5 ms for a thread that decodes. In seconds.
    sys.setswitchinterval(0.0005)
    from workers.memory import bound_free_memory, kept_for_good
    from workers.shutdown import Shutdown
    from workers.torch_environment import set_torch_environment

    bound_free_memory()
    set_torch_environment()
    with Shutdown() as shutdown:
        with kept_for_good():
            from workers.runner import Worker  # loads the model libraries

        Worker(load_settings()).run(shutdown)
