"""A map that works ahead of its reader, in threads and within a bound."""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import TypeVar

A = TypeVar("A")
B = TypeVar("B")

#: Seconds until a reader that waits for the next item gets None instead.
READER_WAIT_MAX_SECONDS = 0.5


def bounded_map(
    threads: int, work: Callable[[A], B], items: Iterable[A], bound: int
) -> Generator[B | None, None, None]:
    """Yield `work(item)` for each item, in order, from `threads` threads, with at most `bound` items taken in advance.

    Yields None while the next item is slow, so that the reader can process the items that it has. When the reader
    stops early, calls that have not begun are dropped, and running ones are not waited for.
    """
    waiting: deque[Future[B]] = deque()
    pool = ThreadPoolExecutor(threads, thread_name_prefix="decode")
    try:
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) >= bound:
                yield from _next(waiting)
        while waiting:
            yield from _next(waiting)
    finally:
        pool.shutdown(wait=not waiting, cancel_futures=True)


def _next(waiting: "deque[Future[B]]") -> Iterator[B | None]:
    if not wait([waiting[0]], READER_WAIT_MAX_SECONDS).done:
        yield None
    result = waiting[0].result()
    waiting.popleft()
    yield result
