"""What is loaded once and kept, and what is given back: in processes of their own, as glibc keeps its options."""

import gc
import subprocess
import sys
from pathlib import Path

from workers.memory import kept_for_good

ROOT = Path(__file__).parents[3]
#: Prints the MB that stay resident of a block of 24 MB that is freed, below a small one that is not.
LEFT = """
import ctypes, os, sys
from workers.memory import bound_free_memory
def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE") / 1e6
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
libc.malloc.argtypes, libc.free.argtypes = [ctypes.c_size_t], [ctypes.c_void_p]
libc.memset.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t]
if sys.argv[1] == "bounded":
    bound_free_memory()
libc.free(libc.malloc(24 << 20))
before = resident()
large = libc.malloc(24 << 20)
small = [libc.malloc(100_000) for _ in range(100)]
libc.memset(large, 1, 24 << 20)
libc.free(large)
print(resident() - before)
"""


def left(how: str) -> float:
    command = [sys.executable, "-c", LEFT, how]
    return float(subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout)


def test_a_large_block_goes_back_to_the_system() -> None:
    assert left("unbounded") > 20
    assert left("bounded") < 5


def test_what_is_loaded_is_in_no_collection() -> None:
    before = gc.get_freeze_count()
    try:
        with kept_for_good():
            assert not gc.isenabled()
            kept = [[n] for n in range(1000)]
        assert gc.isenabled()
        assert gc.get_freeze_count() > before + len(kept)
        assert not any(one is kept for one in gc.get_objects())
    finally:
        gc.unfreeze()
