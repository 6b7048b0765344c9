"""Keeps glibc from holding memory that is free.

Each thread may get an arena of its own, eight for each core, and each arena keeps what it once needed between blocks
that are still in use. With dozens of threads, of which each decodes or reads text at some time, that adds up.
"""

import ctypes
import os
import sys

_M_ARENA_MAX = -8
#: For each core; the C library has eight. With two, threads wait for one another, a tenth of what a bulk image costs.
ARENAS_PER_CORE = 4


def bound_arenas() -> None:
    """Let all threads share a few arenas, unless the environment says otherwise; nothing where there is no glibc."""
    if "MALLOC_ARENA_MAX" not in os.environ and (set_option := _function("mallopt")) is not None:
        set_option(_M_ARENA_MAX, ARENAS_PER_CORE * (os.cpu_count() or 1))


def give_back() -> None:
    """Give pages that are free back to the system."""
    if (trim := _function("malloc_trim")) is not None:
        trim(0)


def _function(name: str) -> "ctypes._NamedFuncPointer | None":
    return getattr(ctypes.CDLL(None), name, None) if sys.platform == "linux" else None
