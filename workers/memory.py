"""Keep glibc from holding on to free memory, and Python from looking for garbage where there is none.

Each thread may get its own arena, up to eight for each core, and each arena keeps freed memory between blocks that
are still in use. With dozens of threads that each decode or read text at some time, that adds up.
"""

import ctypes
import gc
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
#: For each core; glibc's default is eight. With two, threads wait for one another: a tenth of a bulk image's cost.
ARENAS_PER_CORE = 4
#: Larger blocks go back to the system as soon as they are freed. glibc raises that limit to the largest block freed so
#: far, up to 32 MB, and pixels and activations of all sizes then leave gaps among smaller blocks: memory of a worker
#: that reads text grew by 8 % in half an hour. With 8 MB, reading takes a tenth longer; with 16, 3 %.
LARGE_BLOCK_BYTES = 16 * 2**20
#: Free memory at the end of the heap that is kept: as much as glibc would keep by itself.
KEPT_BYTES = 64 * 2**20


def bound_free_memory() -> None:
    """Have all threads share a few arenas, and large blocks given back; does nothing without glibc.

    The environment variables of glibc come first: MALLOC_ARENA_MAX, MALLOC_MMAP_THRESHOLD_, MALLOC_TRIM_THRESHOLD_.
    """
    if (set_option := _function("mallopt")) is None:
        return
    for variable, option, value in (
        ("MALLOC_ARENA_MAX", _M_ARENA_MAX, ARENAS_PER_CORE * (os.cpu_count() or 1)),
        ("MALLOC_MMAP_THRESHOLD_", _M_MMAP_THRESHOLD, LARGE_BLOCK_BYTES),
        ("MALLOC_TRIM_THRESHOLD_", _M_TRIM_THRESHOLD, KEPT_BYTES),
    ):
        if variable not in os.environ:
            set_option(option, value)


@contextmanager
def kept_for_good() -> Iterator[None]:
    """Keep what is loaded during the block out of all garbage collections: while it loads, later, and at the end.

    A third of the time in which the model libraries load and unload is spent on looking at their objects.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def give_back() -> None:
    """Return free pages to the system."""
    if (trim := _function("malloc_trim")) is not None:
        trim(0)


def _function(name: str) -> "ctypes._NamedFuncPointer | None":
    return getattr(ctypes.CDLL(None), name, None) if sys.platform == "linux" else None
