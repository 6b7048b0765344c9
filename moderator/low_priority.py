"""Let threads with slow work give way to the others."""

import os
import sys
from threading import get_native_id

#: Niceness of these threads relative to the others (Linux: each thread has its own).
NICENESS = 10


def lower_thread_priority() -> None:
    """Lower the priority of the calling thread for good, where the system has priorities for threads."""
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, get_native_id(), NICENESS)
