"""One client, used from threads or from an event loop: what tests of both are written against."""

import asyncio
from collections.abc import Callable
from contextlib import aclosing
from itertools import islice
from typing import Any

from moderator import AsyncClient, Client
from moderator.verdicts import Verdict


class InLoop:
    """An asynchronous client, called like one for threads."""

    def __init__(self, *args: Any, **options: Any) -> None:
        self._runner = asyncio.Runner()
        self._client = AsyncClient(*args, **options)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        return lambda *args, **options: self._runner.run(getattr(self._client, name)(*args, **options))

    def iter_verdicts(self, after: str, most: int) -> list[tuple[str, Verdict]]:
        async def take() -> list[tuple[str, Verdict]]:
            found: list[tuple[str, Verdict]] = []
            async with aclosing(self._client.iter_verdicts(after)) as items:
                async for item in items:
                    found.append(item)
                    if len(found) == most:
                        break
            return found

        return self._runner.run(take())

    def __enter__(self) -> "InLoop":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
        self._runner.close()


class InThread(Client):
    def iter_verdicts(self, after: str, most: int) -> list[tuple[str, Verdict]]:  # type: ignore[override]
        return list(islice(super().iter_verdicts(after), most))
