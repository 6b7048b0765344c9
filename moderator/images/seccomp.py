"""What a decoding process gives up before it sees a hostile byte: files, network, processes, memory beyond a bound.

All of this lasts for the rest of the process's life and needs no privilege. On Linux for x86-64, a seccomp filter
refuses every system call that decoding does not need; elsewhere only the resource limits apply.
"""

import ctypes
import platform
import resource
import struct
import sys
from pathlib import Path

_PR_SET_PDEATHSIG, _PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS = 1, 22, 38
_SIGKILL = 9

#: System calls on x86-64 that decoding needs: memory, the open socket, clocks, a timer, exit. None opens or starts
#: anything, or reaches another process.
_ALLOWED = {
    "read": 0,
    "write": 1,
    "close": 3,
    "fstat": 5,
    "poll": 7,
    "lseek": 8,
    "mmap": 9,
    "mprotect": 10,
    "munmap": 11,
    "brk": 12,
    "rt_sigaction": 13,
    "rt_sigprocmask": 14,
    "rt_sigreturn": 15,
    "sched_yield": 24,
    "mremap": 25,
    "madvise": 28,
    "nanosleep": 35,
    "setitimer": 38,
    "getpid": 39,
    "sendto": 44,
    "recvfrom": 45,
    "exit": 60,
    "gettimeofday": 96,
    "gettid": 186,
    "futex": 202,
    "sched_getaffinity": 204,
    "restart_syscall": 219,
    "clock_gettime": 228,
    "clock_nanosleep": 230,
    "exit_group": 231,
    "getrandom": 318,
}
_AUDIT_ARCH_X86_64 = 0xC000003E
_KILL_PROCESS, _ALLOW, _ERRNO_EPERM = 0x80000000, 0x7FFF0000, 0x00050001
#: Instructions of classic BPF: load a word of the call's description, jump if equal, return.
_LOAD, _JUMP_IF_EQUAL, _RETURN = 0x20, 0x15, 0x06


def die_with_parent() -> None:
    """Have the kernel kill this process when the thread that started it ends for any reason. Linux only."""
    if sys.platform == "linux":
        _prctl(_PR_SET_PDEATHSIG, _SIGKILL)


def confine(memory: int) -> bool:
    """Give up what decoding does not need.

    Args:
        memory: most bytes of address space from now on.

    Returns whether system calls are filtered.
    """
    if sys.platform == "linux":
        # When memory runs out, let the kernel take this process and not the worker.
        _try_to_write(Path("/proc/self/oom_score_adj"), "1000")
    for limit, value in (
        (resource.RLIMIT_AS, memory),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NOFILE, 0),  # open files stay open; nothing more can be opened
        (resource.RLIMIT_NPROC, 0),
    ):
        _, hard = resource.getrlimit(limit)
        bound = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(limit, (bound, bound))
    if sys.platform != "linux":
        return False
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    # A 32-bit process on a 64-bit kernel has other call numbers.
    return platform.machine() == "x86_64" and sys.maxsize > 2**32 and _filter_system_calls()


def _filter_system_calls() -> bool:
    """Install the filter; return False if the kernel has none."""
    numbers = sorted(_ALLOWED.values())
    program = [
        (_LOAD, 0, 0, 4),  # the architecture
        (_JUMP_IF_EQUAL, 1, 0, _AUDIT_ARCH_X86_64),
        (_RETURN, 0, 0, _KILL_PROCESS),
        (_LOAD, 0, 0, 0),  # the call's number
        *((_JUMP_IF_EQUAL, len(numbers) - at, 0, number) for at, number in enumerate(numbers)),
        (_RETURN, 0, 0, _ERRNO_EPERM),
        (_RETURN, 0, 0, _ALLOW),
    ]
    code = ctypes.create_string_buffer(b"".join(struct.pack("<HBBI", *line) for line in program))
    header = struct.pack("@HxxxxxxP", len(program), ctypes.addressof(code))
    return _prctl(_PR_SET_SECCOMP, 2, ctypes.create_string_buffer(header)) == 0


def _prctl(option: int, value: int, pointer: "ctypes.Array[ctypes.c_char] | None" = None) -> int:
    call = ctypes.CDLL(None, use_errno=True).prctl
    return int(call(option, ctypes.c_ulong(value), pointer, None, None))


def _try_to_write(path: Path, text: str) -> None:
    try:
        path.write_text(text)
    except OSError:
        return  # a container may forbid it
