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

_M_ARENA_MAX = -8
#: For each core; glibc's default is eight. With two, threads wait for one another: a tenth of a bulk image's cost.
ARENAS_PER_CORE = 4


def bound_arenas() -> None:
    """Make all threads share a few arenas, unless the environment overrides it; does nothing without glibc."""
    if "MALLOC_ARENA_MAX" not in os.environ and (set_option := _function("mallopt")) is not None:
        set_option(_M_ARENA_MAX, ARENAS_PER_CORE * (os.cpu_count() or 1))


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
