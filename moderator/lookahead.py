"""Work that runs ahead of its reader, within a bound."""

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

A = TypeVar("A")
B = TypeVar("B")


def ahead(threads: int, work: Callable[[A], B], items: Iterable[A], bound: int) -> Generator[B, None, None]:
    """Map in so many threads and in order, with at most `bound` items taken ahead of the reader.

    When the reader stops early, what has not begun is dropped, and what has is not waited for.
    """
    waiting: deque[Future[B]] = deque()
    pool = ThreadPoolExecutor(threads, thread_name_prefix="decode")
    try:
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) >= bound:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=not waiting, cancel_futures=True)
