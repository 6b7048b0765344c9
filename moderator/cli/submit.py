"""`moderator submit`: put images on the queue."""

import time
from pathlib import Path
from typing import Annotated, Any

import typer

from moderator.cli.check import SEVERITY
from moderator.cli.options import progress_bar, text_name
from moderator.cli.output import VerdictRows, console, errors, plain, print_json
from moderator.client import DEFAULT_SOURCE, Client
from moderator.errors import ImageNotFound, QueueFull, VerdictTimeout
from moderator.events import Event, Priority
from moderator.fetching.urls import is_url
from moderator.image_paths import expand_images
from moderator.queue.ledger import Acceptance
from moderator.verdicts import Decision

#: Exit code if an image was not judged: it ended in `error`, or no verdict came in time.
EXIT_UNANSWERED = 3


def submit(
    images: Annotated[list[str], typer.Argument(help="Image files, folders of them, or http(s) URLs.")],
    policy: Annotated[str | None, typer.Option(help="NAME. Default: the worker's default policy.")] = None,
    priority: Annotated[Priority, typer.Option(help="Bulk waits for interactive.")] = Priority.INTERACTIVE,
    source: Annotated[
        str, typer.Option(help="Who sends the events; part of their identity.")
    ] = DEFAULT_SOURCE,
    webhook: Annotated[str | None, typer.Option(help="URL that gets the verdict too, signed.")] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for the verdicts and print them.")] = False,
    timeout: Annotated[
        float, typer.Option(help="With --wait: give up when no verdict has come for this many seconds.")
    ] = 60.0,
    fail_on: Annotated[
        Decision | None,
        typer.Option(help="With --wait: end with 1 if an image gets this decision or a worse one."),
    ] = None,
    no_retry: Annotated[
        bool, typer.Option("--no-retry", help="End with an error if the queue is full.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="One event or verdict per line, as JSON.")] = False,
) -> None:
    """Put images on the queue; a worker judges them.

    A file under one of MODERATOR_FETCH_ROOTS is sent by path, any other inline in the event. Without --wait, the event
    ids are printed: `moderator verdicts show ID` shows the verdict.

    While the queue is full, it waits as long as necessary, unless --no-retry is given. While Redis is unavailable,
    events go into the spool if MODERATOR_SPOOL names one: they are marked, and delivered later (see `moderator spool`).

    With --wait, verdicts are printed in order, as they become available. Exit codes: 0 if every image got allow, review
    or block, 1 because of --fail-on, 3 if an image ended in `error` or got no verdict in time.

    Examples:

      moderator submit cat.jpg --policy marketplace --wait

      moderator submit uploads/ --wait --fail-on block --json

      moderator submit https://example.com/upload.jpg --webhook https://example.com/hook
    """
    if fail_on is not None and not wait:
        raise typer.BadParameter("only with --wait", param_hint="--fail-on")
    files = expand_images(images)
    for name in files:
        if not is_url(name) and not Path(name).is_file():
            raise ImageNotFound(f"{name}: no such file; nothing was submitted")
    client = Client()
    common = {"source": source, "policy": policy, "priority": priority, "reply": {"webhook": webhook}}
    for image in files:  # check all of them before sending the first
        client.validate({**common, "image": _reference(client, image, read=False)})
    sent: list[tuple[str, Event]] = []
    for image in files:
        file = text_name(Path(image).name)[:256]
        body = {**common, "image": _reference(client, image), "metadata": {"file": file}}
        event, acceptance = _submit(client, body, patient=not no_retry)
        sent.append((image, event))
        if not wait:
            _show(image, event, acceptance, json)
    if wait and (code := _wait(client, sent, timeout, fail_on, json)):
        raise typer.Exit(code)


def _wait(
    client: Client, sent: list[tuple[str, Event]], timeout: float, fail_on: Decision | None, json: bool
) -> int:
    """Print the verdicts in the order of the images, each as soon as possible; return the exit code."""
    rows = VerdictRows()
    code = 0
    deadline = time.monotonic() + timeout
    with progress_bar(json) as bar:
        for image, event in bar.track(sent, description="waiting for verdicts"):
            name = Path(image).name
            try:
                verdict = client.wait(event, timeout=max(0.0, deadline - time.monotonic()))
            except VerdictTimeout as error:
                code = EXIT_UNANSWERED
                if json:
                    facts = {"type": type(error).__name__, "message": str(error)}
                    print_json(
                        {"event_id": event.id, "source": event.source, "decision": None, "error": facts}
                    )
                else:
                    rows.add_wide(plain(name), "none", plain(f"{type(error).__name__}: {error}"))
                continue
            deadline = time.monotonic() + timeout
            if json:
                print_json(verdict)
            else:
                rows.add_verdict(name, verdict)
            if verdict.decision is Decision.ERROR:
                code = EXIT_UNANSWERED
            elif (
                not code
                and fail_on is not None
                and SEVERITY.index(verdict.decision) >= SEVERITY.index(fail_on)
            ):
                code = 1
    return code


def _submit(client: Client, body: dict[str, Any], patient: bool) -> tuple[Event, Acceptance]:
    """Submit an event; if `patient`, retry while the queue is full."""
    while True:
        try:
            return client.submit_event(body)
        except QueueFull as full:
            if not patient:
                raise
            with errors.status(f"the queue is full; trying again in {full.retry_after:.1f} s"):
                time.sleep(full.retry_after)


def _show(image: str, event: Event, acceptance: Acceptance, json: bool) -> None:
    if json:
        place = {"image": text_name(image), "acceptance": acceptance.value}
        print_json({"id": event.id, "source": event.source, **place})
    else:
        mark = "  (spooled)" if acceptance is Acceptance.SPOOLED else ""
        console.print(plain(f"{event.id}  {image}{mark}"), soft_wrap=True)


def _reference(client: Client, image: str, read: bool = True) -> dict[str, Any]:
    """Return the image reference; without `read`, by path even if workers cannot read the file."""
    if is_url(image):
        return {"url": image}
    if read:
        return client.local_image(Path(image))
    return {"path": str(client.check_local_image(Path(image))[0])}
