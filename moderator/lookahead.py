"""Work that runs ahead of its reader, within a bound."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

A = TypeVar("A")
B = TypeVar("B")


def ahead(pool: ThreadPoolExecutor, work: Callable[[A], B], items: Iterable[A], bound: int) -> Iterator[B]:
    """`pool.map` in order, with at most `bound` items taken ahead of the reader."""
    waiting: deque[Future[B]] = deque()
    for item in items:
        waiting.append(pool.submit(work, item))
        if len(waiting) >= bound:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()
