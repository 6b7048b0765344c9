"""Admission of requests by their keys: those of one key that come while Redis is asked are asked for together."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from moderator.gateway import api_keys
from moderator.gateway.api_keys import Admission, Credentials, Scope
from moderator.queue.commands import Command

#: Most requests of one key that are admitted together.
ADMITTED_TOGETHER_MAX = 200

_Key = tuple[Credentials | None, Scope]


class Admissions:
    """Asks Redis for admissions.

    Args:
        ask: runs a command.
        rate: requests a second of keys that have none of their own.
    """

    def __init__(self, ask: Callable[[Command[Any]], Awaitable[Any]], rate: float) -> None:
        self._ask, self._rate = ask, rate
        self._waiting: dict[_Key, list[asyncio.Future[Admission]]] = {}
        self._asking: dict[_Key, asyncio.Task[None]] = {}

    async def admit(self, credentials: Credentials | None, scope: Scope) -> Admission:
        """Return the admission of one request; raises what `ask` raises."""
        key = (credentials, scope)
        admitted: asyncio.Future[Admission] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(key, []).append(admitted)
        if key not in self._asking:
            self._asking[key] = asyncio.create_task(self._ask_for(key))
        return await admitted

    async def _ask_for(self, key: _Key) -> None:
        """Ask for all that wait, until none does."""
        try:
            while waiting := self._waiting.pop(key, None):
                now, later = waiting[:ADMITTED_TOGETHER_MAX], waiting[ADMITTED_TOGETHER_MAX:]
                if later:
                    self._waiting[key] = later
                await self._answer(key, [one for one in now if not one.done()])
        finally:
            del self._asking[key]

    async def _answer(self, key: _Key, requests: list["asyncio.Future[Admission]"]) -> None:
        if not requests:
            return
        try:
            answers = await self._ask(api_keys.admit(*key, self._rate, len(requests)))
        except Exception as error:  # each request reports it
            for request in requests:
                if not request.done():
                    request.set_exception(error)
            return
        for request, answer in zip(requests, answers, strict=True):
            if not request.done():
                request.set_result(answer)
