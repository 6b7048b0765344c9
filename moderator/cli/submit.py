"""`moderator submit`: put images on the queue."""

from pathlib import Path
from typing import Annotated, Any

import typer

from moderator.cli.output import console, errors, plain, print_json, verdict_row, verdict_table
from moderator.client import DEFAULT_SOURCE, Client
from moderator.events import Event, Priority
from moderator.listing import expand_images


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
    json: Annotated[bool, typer.Option("--json", help="One event or verdict per line, as JSON.")] = False,
) -> None:
    """Put images on the queue; a worker judges them.

    A file under one of MODERATOR_FETCH_ROOTS is sent by its path, any other inside the event. Without --wait
    the event ids are printed: `moderator verdicts show ID` finds the answer.

    Examples:

      moderator submit cat.jpg --policy marketplace --wait

      moderator submit https://example.com/upload.jpg --webhook https://example.com/hook
    """
    client = Client()
    sent: list[tuple[str, Event]] = []
    for image in expand_images(images):
        event, _ = client.submit_event(
            {
                "source": source,
                "policy": policy,
                "image": _reference(client, image),
                "priority": priority,
                "metadata": {"file": Path(image).name[:256]},
                "reply": {"webhook": webhook},
            }
        )
        sent.append((image, event))
        if not wait:
            if json:
                print_json({"id": event.id, "source": event.source, "image": image})
            else:
                console.print(plain(f"{event.id}  {image}"), soft_wrap=True)
    if not wait:
        return
    table = verdict_table()
    with errors.status(f"waiting for {len(sent)} verdicts") as status:
        for number, (image, event) in enumerate(sent, start=1):
            verdict = client.wait(event.id, source=source, timeout=timeout)
            status.update(f"{number} of {len(sent)} verdicts")
            if json:
                print_json(verdict)
            else:
                table.add_row(*verdict_row(Path(image).name, verdict))
    if not json:
        console.print(table)


def _reference(client: Client, image: str) -> dict[str, Any]:
    if image.startswith(("http://", "https://")):
        return {"url": image}
    return client.local_image(Path(image))
