"""`moderator submit`: put images on the queue."""

import time
from pathlib import Path
from typing import Annotated, Any

import typer

from moderator.cli.output import console, errors, plain, print_json, verdict_row, verdict_table
from moderator.client import DEFAULT_SOURCE, Client
from moderator.errors import QueueFull
from moderator.events import Event, Priority
from moderator.listing import expand_images
from moderator.queue.ledger import Acceptance


def submit(
    images: Annotated[list[str], typer.Argument(help="Image files, folders of them, or http(s) URLs.")],
    policy: Annotated[str | None, typer.Option(help="NAME. Default: the worker's default policy.")] = None,
    priority: Annotated[Priority, typer.Option(help="Bulk waits for interactive.")] = Priority.INTERACTIVE,
    source: Annotated[
        str, typer.Option(help="Who sends the events; part of their identity.")
    ] = DEFAULT_SOURCE,
    webhook: Annotated[str | None, typer.Option(help="URL that gets the verdict too, signed.")] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for the verdicts and print them.")] = False,
    timeout: Annotated[float, typer.Option(help="Most seconds to wait for a verdict.")] = 60.0,
    no_retry: Annotated[
        bool, typer.Option("--no-retry", help="End with an error where the queue is full.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="One event or verdict per line, as JSON.")] = False,
) -> None:
    """Put images on the queue; a worker judges them.

    A file under one of MODERATOR_FETCH_ROOTS is sent by its path, any other inside the event. Without --wait
    the event ids are printed: `moderator verdicts show ID` finds the answer.

    A full queue is waited for, as long as it takes, unless --no-retry is given. While Redis is away, events go into
    the spool if MODERATOR_SPOOL names one: they are marked, and delivered later (see `moderator spool`).

    Examples:

      moderator submit cat.jpg --policy marketplace --wait

      moderator submit https://example.com/upload.jpg --webhook https://example.com/hook
    """
    client = Client()
    files = expand_images(images)
    common = {"source": source, "policy": policy, "priority": priority, "reply": {"webhook": webhook}}
    for image in files:  # all of them before the first is sent
        client.check({**common, "image": _reference(client, image, read=False)})
    sent: list[tuple[str, Event]] = []
    for image in files:
        body = {**common, "image": _reference(client, image), "metadata": {"file": Path(image).name[:256]}}
        event, acceptance = _submit(client, body, patient=not no_retry)
        sent.append((image, event))
        if not wait:
            _show(image, event, acceptance, json)
    if not wait:
        return
    table = verdict_table()
    with errors.status(f"waiting for {len(sent)} verdicts") as status:
        for number, (image, event) in enumerate(sent, start=1):
            verdict = client.wait(event, timeout=timeout)
            status.update(f"{number} of {len(sent)} verdicts")
            if json:
                print_json(verdict)
            else:
                table.add_row(*verdict_row(Path(image).name, verdict))
    if not json:
        console.print(table)


def _submit(client: Client, body: dict[str, Any], patient: bool) -> tuple[Event, Acceptance]:
    """Submit an event; if `patient`, again whenever a full queue says so."""
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
        record = {"id": event.id, "source": event.source, "image": image, "acceptance": acceptance.value}
        print_json(record)
    else:
        mark = "  (spooled)" if acceptance is Acceptance.SPOOLED else ""
        console.print(plain(f"{event.id}  {image}{mark}"), soft_wrap=True)


def _reference(client: Client, image: str, read: bool = True) -> dict[str, Any]:
    """The image reference; unless `read`, as if workers could read each file."""
    if image.startswith(("http://", "https://")):
        return {"url": image}
    if read:
        return client.local_image(Path(image))
    return {"path": str(client.check_local_image(Path(image))[0])}
