"""What both ways to send a call over HTTP share: its limits, its headers, and what a broken connection means."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpcore2

from moderator.backoff import exponential
from moderator.client.http_requests import ANSWER_BYTES_MAX, GatewayAddress, HttpAnswer, HttpCall
from moderator.errors import NotAGateway, QueueUnavailable, SettingsError

#: Seconds to connect, and in which a server takes or sends the next part, besides what it was asked to wait.
CONNECT_SECONDS, ANSWER_SECONDS = 2.5, 10.0
#: Most tries of a call whose connection broke, and the seconds between them: the first pause, the longest.
TRIES_MAX, TRY_PAUSE_FIRST_SECONDS, TRY_PAUSE_MAX_SECONDS = 4, 0.05, 0.5
#: Most seconds that one request asks the gateway to wait for a verdict.
REQUEST_WAIT_SECONDS = 25.0
#: Pause between two looks for a verdict: a share of the time waited so far, within these bounds.
POLL_SHARE, POLL_MIN_SECONDS, POLL_MAX_SECONDS = 0.2, 0.05, 1.0
#: Seconds without a byte after which a stream counts as broken; the gateway sends comments more often.
STREAM_SILENCE_SECONDS = 60.0
#: Seconds after which the end of a stream is no failure: gateways restart, and proxies end what lasts long.
STREAM_STEADY_SECONDS = 5.0

POOL_OPTIONS: dict[str, Any] = {
    "max_connections": None,
    "max_keepalive_connections": 32,
    "keepalive_expiry": 15.0,
}
BROKEN = (httpcore2.NetworkError, httpcore2.RemoteProtocolError)
#: How a stream ends that is to be read on; silence is one of them.
STREAM_BROKEN = (*BROKEN, httpcore2.ReadTimeout)

# At level DEBUG the library would log each header, and one of them is the key.
logging.getLogger("httpcore2").setLevel(logging.INFO)
log = logging.getLogger(__name__)


class Requests:
    """What httpcore sends for the calls of one client.

    Args:
        url: of the gateway.
        api_key: sent with each request; None: none.
    """

    def __init__(self, url: str, api_key: str | None) -> None:
        self._address = GatewayAddress.of(url)
        self._common = {"User-Agent": "moderator", "Accept-Encoding": "identity"}
        if api_key is not None:
            if not (api_key.isascii() and api_key.isprintable() and api_key.strip() == api_key != ""):
                raise SettingsError(
                    "the API key has characters that no key has; pass it as `moderator keys` printed it"
                )
            self._common["Authorization"] = f"Bearer {api_key}"
            if not self._address.is_private:
                log.warning("the API key goes to %s unencrypted; use https://", self._address.authority)

    def of(self, call: HttpCall[Any], silence: float) -> dict[str, Any]:
        """Return the arguments of `ConnectionPool.stream`; the server may be silent for that many seconds."""
        body = (
            {}
            if call.body is None
            else {"Content-Type": "application/json", "Content-Length": str(len(call.body))}
        )
        times = {"connect": CONNECT_SECONDS, "read": silence, "write": ANSWER_SECONDS, "pool": ANSWER_SECONDS}
        return {
            "method": call.method,
            "url": self._address.url(call.target),
            "headers": {"Host": self._address.authority, **self._common, **body, **call.headers},
            "content": call.body,
            "extensions": {"timeout": times},
        }


@contextmanager
def failing_as_ours() -> Iterator[None]:
    """Replace an error of the connection with ours."""
    try:
        yield
    except httpcore2.TimeoutException as error:
        raise QueueUnavailable(f"the gateway does not answer in time; {_AGAIN}") from error
    except BROKEN as error:
        raise QueueUnavailable(f"the gateway cannot be reached ({error}); {_AGAIN}") from error
    except (httpcore2.ProtocolError, httpcore2.UnsupportedProtocol) as error:
        raise SettingsError(
            f"this cannot be sent to the gateway as HTTP ({error}); check its URL and the key"
        ) from error


_AGAIN = "check its URL and that it runs, then try again: the same id is accepted once"


def try_pause(failures: int) -> float:
    """Return the seconds before a connection that broke is tried again."""
    return exponential(failures, TRY_PAUSE_FIRST_SECONDS, TRY_PAUSE_MAX_SECONDS)


def poll_pause(waited: float, timeout: float, asked: float) -> float:
    """Return the seconds until the next look for a verdict, at least as many as the gateway asked for."""
    pause = max(asked, min(max(POLL_MIN_SECONDS, POLL_SHARE * waited), POLL_MAX_SECONDS))
    return max(0.0, min(pause, timeout - waited))


def check_body(size: int, late: bool) -> None:
    """Refuse an answer that is larger or slower than any of a gateway."""
    if size > ANSWER_BYTES_MAX:
        raise NotAGateway(f"the answer has more than {ANSWER_BYTES_MAX} bytes; check the gateway's URL")
    if late:
        raise QueueUnavailable(f"the gateway does not answer in time; {_AGAIN}")


def to_answer(response: httpcore2.Response, body: bytearray) -> HttpAnswer:
    """Return an answer whose body has been read."""
    headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in response.headers}
    return HttpAnswer(response.status, headers, bytes(body))


def stream_ended() -> QueueUnavailable:
    """Return the error for a stream that ends, which none does that is not interrupted."""
    error = QueueUnavailable("the gateway ends the stream; read on from the last cursor later")
    error.__cause__ = httpcore2.RemoteProtocolError("the stream ended")
    return error
