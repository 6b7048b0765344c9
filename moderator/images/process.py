"""One decoding process, as the worker sees it: start, request, end. See `moderator.images.sandbox` for its inside."""

import os
import signal
import socket
import subprocess
import sys
import sysconfig
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

from moderator.errors import DecoderCrashed, DecoderUnavailable, DecodeTimeout, ModeratorError
from moderator.images.decode import check_length
from moderator.images.prepare import WHOLE_ALONE, PreparedImage, PreprocessSpec
from moderator.images.protocol import (
    READY_LINES,
    REPLY_SIZE,
    REQUEST,
    VIEW_SIZE,
    MemoryLayout,
    ReplyInvalid,
    check_sizes,
    dump_spec,
    parse_reply,
    parse_views,
)
from moderator.view import ViewPlan

Reason = Literal["crash", "killed", "timeout", "reply"]
REASONS: tuple[Reason, ...] = ("crash", "killed", "timeout", "reply")

#: Seconds beyond the time limit in which a process may itself report the timeout.
TIMEOUT_GRACE_SECONDS = 0.5
#: Seconds that a process may take to start; a busy machine needs one or two.
START_WAIT_SECONDS = 30.0
#: Seconds to wait for a process to exit after its socket closed.
_EXIT_WAIT_SECONDS = 2.0
#: The only variables of the worker's environment that a process gets: the rest holds passwords.
_ENVIRONMENT = ("PATH", "PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "LD_LIBRARY_PATH", "LANG", "LC_ALL", "TZ")


class DecoderLost(Exception):
    """A decoding process is no longer usable. `error` is the image's."""

    def __init__(self, reason: Reason, error: ModeratorError) -> None:
        super().__init__(reason)
        self.reason = reason
        self.error = error


class DecoderProcess:
    """Starts a process. One thread at a time uses it; the thread that creates it must outlive it.

    Args:
        spec: how it prepares files.
        memory: most bytes of its address space.
    """

    def __init__(self, spec: PreprocessSpec, memory: int) -> None:
        self._spec = spec
        self._layout = MemoryLayout.of(spec)
        self._number = 0
        self._connection, theirs = socket.socketpair()
        self._shared = _shared_memory(self._layout.size)
        command = [sys.executable, "-P", "-m", "moderator.images.sandbox", dump_spec(spec)]
        command += [str(memory), str(self._shared), str(os.getpid())]
        try:
            self._process = subprocess.Popen(  # noqa: S603 (our own program, arguments of ours)
                command,
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                pass_fds=(self._shared,),
                env=_environment(),
                start_new_session=True,  # Ctrl-C is for the worker
            )
        except OSError as error:
            self._close()
            raise DecoderUnavailable(f"a decoding process cannot be started: {error.strerror}") from error
        finally:
            theirs.close()
        self.pid: int = self._process.pid

    def wait_until_ready(self) -> bool:
        """Wait until it has confined itself; return whether its system calls are filtered.

        Raises:
            DecoderUnavailable: it does not start; its standard error is the worker's.
        """
        self._connection.settimeout(START_WAIT_SECONDS)
        size = len(READY_LINES[True])
        try:
            word = self._connection.recv(size, socket.MSG_WAITALL)
        except OSError:
            word = b""
        if word not in READY_LINES.values():
            raise DecoderUnavailable(
                "a decoding process does not start; MODERATOR_DECODE_MEMORY may be too small, or this system does not "
                "let processes confine themselves: MODERATOR_DECODE=threads does without"
            )
        self._connection.settimeout(self._spec.limits.timeout + TIMEOUT_GRACE_SECONDS)
        return word == READY_LINES[True]

    def prepare(self, data: bytes, plan: ViewPlan = WHOLE_ALONE, picture_side: int = 0) -> PreparedImage:
        """Have an image file decoded and resized to the model's input; see `moderator.images.prepare.prepare`.

        Raises:
            ImageError: it is not an image, broken, or beyond a limit.
            Unexpected: the process met an unforeseen error and is still alive.
            DecoderLost: it is dead, cannot be trusted, or takes too long. `end` it.
        """
        limits = self._spec.limits
        check_length(data, limits)
        plan = replace(plan, most=min(plan.most, self._spec.max_views))
        deadline = time.monotonic() + limits.timeout + TIMEOUT_GRACE_SECONDS
        try:
            _write(self._shared, data)
            self._number += 1
            request = REQUEST.pack(self._number, len(data), picture_side, plan.most, plan.turned)
            self._connection.sendall(request)
            reply = self._receive(deadline)
        except TimeoutError:
            raise DecoderLost("timeout", _overrun()) from None
        except OSError:
            reply = b""
        if len(reply) < REPLY_SIZE:
            raise self._death()
        try:
            found = parse_reply(reply, self._number, limits, plan)
            if isinstance(found, ModeratorError):
                raise found
            side = self._spec.resize.crop
            pixels = np.empty((found.views, side, side, 3), dtype=np.uint8)
            self._read(pixels, self._layout.pixels_at)
            packed = np.empty(found.views * VIEW_SIZE, dtype=np.uint8)
            self._read(packed, self._layout.views_at)
            views = parse_views(packed.tobytes(), found, plan, limits.max_pixels)
            pictures = self._read_pictures(found.pictures) if picture_side else ()
        except ReplyInvalid as error:
            raise DecoderLost("reply", DecoderCrashed(f"the decoding process sent {error}")) from error
        return found.with_pixels(pixels, views, pictures)

    def _read_pictures(self, count: int) -> tuple[Image.Image, ...]:
        sizes = np.empty((count, 2), dtype=np.uint32)
        self._read(sizes, self._layout.sizes_at)
        at = self._layout.pictures_at
        pictures = []
        for width, height in check_sizes(sizes):
            picture = np.empty((height, width, 3), dtype=np.uint8)
            self._read(picture, at)
            at += picture.nbytes
            pictures.append(Image.fromarray(picture))
        return tuple(pictures)

    def _read(self, array: np.ndarray, at: int) -> None:
        """Fill an array from the shared memory."""
        if os.preadv(self._shared, [array.data.cast("B")], at) != array.nbytes:
            raise ReplyInvalid("less pixels than it says")

    def end(self) -> None:
        """Kill it if it is alive, and free its resources. It has nothing to lose."""
        self._process.kill()
        self._process.wait()
        self._close()

    def _receive(self, deadline: float) -> bytes:
        reply = self._connection.recv(REPLY_SIZE)
        while reply and len(reply) < REPLY_SIZE:  # a healthy process sends it in one piece
            self._connection.settimeout(max(1e-3, deadline - time.monotonic()))
            more = self._connection.recv(REPLY_SIZE - len(reply))
            if not more:
                return b""
            reply += more
            self._connection.settimeout(self._spec.limits.timeout + TIMEOUT_GRACE_SECONDS)
        return reply

    def _death(self) -> DecoderLost:
        """Return the error for the way in which it died."""
        try:
            code = self._process.wait(_EXIT_WAIT_SECONDS)
        except subprocess.TimeoutExpired:
            return DecoderLost("reply", DecoderCrashed("the decoding process hung up without an answer"))
        if code == -signal.SIGPROF:
            return DecoderLost("timeout", _overrun())
        if code == -signal.SIGKILL:
            reason: Reason = "killed"
            what = "was killed, as the system does when memory runs out: add some, or lower MODERATOR_THREADS"
        else:
            reason = "crash"
            number = f"signal {-code}" if code < 0 else f"exit code {code}"
            name = signal.Signals(-code).name if -code in signal.valid_signals() else number
            what = f"died over the image ({name}): an attack, or a fault in an image library"
        return DecoderLost(reason, DecoderCrashed(f"the decoding process {what}"))

    def _close(self) -> None:
        self._connection.close()
        os.close(self._shared)


def _overrun() -> DecodeTimeout:
    return DecodeTimeout("decoding takes longer than allowed (MODERATOR_DECODE_TIMEOUT)")


def _write(descriptor: int, data: bytes) -> None:
    """Write all data to the start of the file."""
    view, at = memoryview(data), 0
    while at < len(data):
        at += os.pwrite(descriptor, view[at:], at)


def _shared_memory(size: int) -> int:
    """Return a descriptor of `size` bytes; pages that were never written take no memory."""
    if sys.platform == "linux":
        descriptor = os.memfd_create("moderator-decoder")
    else:
        with tempfile.TemporaryFile() as file:
            descriptor = os.dup(file.fileno())
    os.ftruncate(descriptor, size)
    return descriptor


def _environment() -> dict[str, str]:
    kept = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
    # The process must import this very package, wherever the worker found it. It finds installed packages without
    # help, and their folder must not come before Python's own.
    here = str(Path(__file__).resolve().parents[2])
    paths = [here] if here != sysconfig.get_path("purelib") else []
    paths += filter(None, [kept.get("PYTHONPATH")])
    return {**kept, "PYTHONPATH": os.pathsep.join(paths), "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
