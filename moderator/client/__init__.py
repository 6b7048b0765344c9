"""Clients of the service: submit events, wait for verdicts, read the stream. They need no Celery and no model.

from moderator import Client

with Client("redis://localhost:6379/0") as client:  # or Client("https://moderation.example", api_key="...")
    event = client.submit(path="/srv/uploads/cat.jpg", policy="marketplace")
    verdict = client.wait(event)

If the service may be unavailable at times (a restart), set `MODERATOR_SPOOL` to a folder: events are kept there and
delivered later, in order. `event.acceptance` shows where an event is.
"""

from moderator.client.async_client import AsyncClient
from moderator.client.submissions import DEFAULT_SOURCE, Submitted
from moderator.client.sync_client import Client
from moderator.client.transports import BEGINNING, NEWEST

__all__ = ["BEGINNING", "DEFAULT_SOURCE", "NEWEST", "AsyncClient", "Client", "Submitted"]
