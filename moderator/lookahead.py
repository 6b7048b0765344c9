"""Work that runs ahead of its reader, within a bound."""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import TypeVar

A = TypeVar("A")
B = TypeVar("B")

#: Seconds after which a reader is told that the next item takes its time.
PATIENCE = 0.5


def ahead(
    threads: int, work: Callable[[A], B], items: Iterable[A], bound: int
) -> Generator[B | None, None, None]:
    """Map in so many threads and in order, with at most `bound` items taken ahead of the reader.

    Yields None where the next item lets the reader wait, who may deal with what it has in the meantime. When the
    reader stops early, what has not begun is dropped, and what has is not waited for.
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
    if not wait([waiting[0]], PATIENCE).done:
        yield None
    result = waiting[0].result()
    waiting.popleft()
    yield result
