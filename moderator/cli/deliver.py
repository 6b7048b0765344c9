"""`moderator deliver`: deliver verdicts to webhooks and other consumers, in a process of its own."""

import faulthandler
import logging
import signal
import sys
from typing import Annotated

import typer

from moderator.cli.worker import LogLevel
from moderator.settings import load_settings


def deliver(
    only: Annotated[
        list[str] | None,
        typer.Option(
            help="A consumer, such as `webhooks`; may be repeated. Default: all that are installed."
        ),
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=65535,
            help="Port of /metrics, /ready and /live; 0 takes a free one. Default: MODERATOR_METRICS_PORT.",
        ),
    ] = None,
    log_level: Annotated[LogLevel, typer.Option(help="How much to log on standard error.")] = LogLevel.INFO,
) -> None:
    """Deliver verdicts to webhooks and to the other consumers of the outbox.

    By default, workers do this themselves. To deliver from a separate process, for example on a machine that reaches
    the receivers when the workers have no outbound network, set MODERATOR_DELIVER=apart for the workers and run this
    with their settings. It needs only Redis: no model, policies or images. Several may run at once.

    A consumer gets each verdict at least once. A failed delivery is retried, later each time; finally it becomes a dead
    letter (moderator dead-letters). If this process dies, another one, or its own restart, takes over the deliveries in
    flight within two minutes.

    MODERATOR_OUTBOX_CONSUMERS names the consumers besides webhooks, for the workers as well: they keep each verdict
    until the consumer has it, up to MODERATOR_OUTBOX_LIMIT. moderation_outbox_waiting, _oldest_age_seconds and
    _missed_total show how far each consumer is behind.

    Runs until SIGTERM, SIGINT (Ctrl-C), SIGQUIT or SIGHUP; then it finishes the deliveries in flight and exits with 0.
    A second signal ends it at once. SIGUSR1 prints what each thread is doing.

    Examples:

      MODERATOR_REDIS_URL=redis://localhost:6379/0 moderator deliver

      moderator deliver --only webhooks --port 9465
    """
    logging.basicConfig(
        level=log_level.upper(),
        stream=sys.stderr,
        format="%(asctime)s %(levelname)-7s %(name)s: %(message)s",
    )
    faulthandler.register(signal.SIGUSR1)
    from workers.deliverer import Deliverer
    from workers.shutdown import Shutdown

    with Shutdown() as shutdown:
        Deliverer(load_settings(), only or (), port).run(shutdown)
