"""Reads the notifications of buckets from a queue of Amazon SQS, with or without the envelope of SNS.

It needs the rights `sqs:ReceiveMessage` and `sqs:DeleteMessage`. A message is deleted once each of its objects is in
our queue, or need not be: until then SQS keeps it and delivers it again. What cannot be read is left to the queue's own
redrive policy, which moves it to a dead-letter queue.
"""

import logging
from dataclasses import dataclass
from threading import Event as Flag
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from moderator.backoff import jittered
from moderator.client import Client
from moderator.errors import EventInvalid, FetchRefused, QueueFull, QueueUnavailable
from moderator.gateway.hooks.s3_events import read_s3
from moderator.gateway.hooks.sns import unwrap
from moderator.gateway.hooks.tally import Tally
from moderator.queue.executors import RedisExecutor
from moderator.queue.failures import failing_as, not_answered
from moderator.queue.object_writes import note_write

log = logging.getLogger(__name__)

#: Most messages per request, as SQS allows, and seconds for which a request waits for the first one.
MESSAGES_MAX, WAIT_SECONDS = 10, 3
#: Seconds before the next request while SQS or our queue cannot be reached; jittered.
PAUSE_SECONDS = 2.0


@dataclass
class Read:
    """Numbers of messages: deleted because all is done, and left in the queue."""

    done: int = 0
    left: int = 0


class SqsReader:
    """Reader of one queue.

    Args:
        sqs: a boto3 client for SQS.
        queue_url: the queue's URL.
        client: of our queue; without a spool, as SQS keeps what cannot be submitted.
        options: fields of the events that are submitted.
    """

    def __init__(self, sqs: Any, queue_url: str, client: Client, options: dict[str, Any]) -> None:
        self._sqs = sqs
        self._url = queue_url
        self._client = client
        self._executor = RedisExecutor(client.redis)
        self._options = options

    def run(self, stopped: Flag) -> None:
        """Read until `stopped`.

        Raises:
            FetchRefused: SQS refuses; the message names the rights that are needed.
        """
        while not stopped.is_set():
            try:
                self.read_once()
            except (QueueFull, QueueUnavailable) as error:
                log.warning("%s", error)
                later = error.retry_after if isinstance(error, QueueFull) else 0.0
                stopped.wait(later + jittered(PAUSE_SECONDS))
            except (BotoCoreError, ClientError) as error:
                _check_transient(error)
                log.warning("SQS does not answer: %s", type(error).__name__)
                stopped.wait(jittered(PAUSE_SECONDS))

    def read_once(self, wait_seconds: int = WAIT_SECONDS) -> Read:
        """Read some messages; returns how many.

        Raises:
            QueueFull, QueueUnavailable: our queue takes no events; SQS delivers them again.
            BotoCoreError, ClientError: as boto3.
        """
        answer = self._sqs.receive_message(
            QueueUrl=self._url, MaxNumberOfMessages=MESSAGES_MAX, WaitTimeSeconds=wait_seconds
        )
        read = Read()
        for message in answer.get("Messages", ()):
            if self._submit(str(message.get("Body", ""))):
                self._sqs.delete_message(QueueUrl=self._url, ReceiptHandle=message["ReceiptHandle"])
                read.done += 1
            else:
                read.left += 1
        return read

    def _submit(self, body: str) -> bool:
        """Return whether nothing is left to do for a message."""
        try:
            notice = read_s3(unwrap(body))
        except EventInvalid as error:
            log.error("a message is left in the queue: %s", error)
            return False
        tally = Tally(notice)
        for stored in notice.objects:
            with failing_as(not_answered):
                latest = stored.order is None or self._executor.run(note_write(stored.name, stored.order))
            event = tally.choose(stored, self._options, latest=latest)
            if event is not None:
                try:
                    tally.accept(self._client.submit_event(event)[1])
                except EventInvalid as error:
                    tally.refuse(error)
        for why in tally.refusals:
            log.error("a message is left in the queue: %s", why)
        return not tally.refusals


def _check_transient(error: BotoCoreError | ClientError) -> None:
    """Raise `FetchRefused` unless a retry may help."""
    if not isinstance(error, ClientError):
        return
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    code = str(error.response.get("Error", {}).get("Code", ""))[:64]
    if status < 500 and "Throttl" not in code:
        raise FetchRefused(
            f"SQS answered {status} {code}; check the URL, the region and the credentials, and grant "
            "sqs:ReceiveMessage and sqs:DeleteMessage on the queue"
        ) from error
