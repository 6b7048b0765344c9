"""The program of a decoding process: `python -m moderator.images.sandbox SPEC MEMORY DESCRIPTOR PARENT`.

Standard input is a socket: lengths of files come in, replies go out (`moderator.images.protocol`). Files and pixels are
in the shared memory behind DESCRIPTOR. The process ends when the socket is closed. MEMORY is in bytes.
"""

import mmap
import os
import signal
import socket
import struct
import sys
from collections.abc import Sequence
from dataclasses import replace
from io import BytesIO

import numpy as np
from PIL import (  # Pillow would import these at the first file of a format, but then nothing can be opened any more
    AvifImagePlugin,
    BmpImagePlugin,  # noqa: F401
    GifImagePlugin,  # noqa: F401
    IcoImagePlugin,  # noqa: F401
    Image,
    JpegImagePlugin,  # noqa: F401
    MpoImagePlugin,  # noqa: F401
    PngImagePlugin,  # noqa: F401
    TiffImagePlugin,  # noqa: F401
    WebPImagePlugin,  # noqa: F401
)

from moderator.errors import ImageTooLarge
from moderator.images.decode import DecodeLimits
from moderator.images.prepare import PreprocessSpec, prepare
from moderator.images.protocol import (
    READY_LINES,
    REQUEST,
    MemoryLayout,
    load_spec,
    pack_error,
    pack_image,
    pack_views,
)
from moderator.images.seccomp import confine, die_with_parent
from moderator.view import ViewPlan

#: Generous, regardless of the settings.
TRIAL_LIMITS = DecodeLimits(max_bytes=10**6, max_pixels=10**6, max_frames=1, timeout=60.0)


def main() -> None:
    """Serve until the worker closes the socket or dies."""
    spec, memory, descriptor, parent = load_spec(sys.argv[1]), *map(int, sys.argv[2:5])
    die_with_parent()
    if os.getppid() != parent:  # it died before the line above
        return
    # Signals to a whole process group or service are for the worker; it still needs this process for images in flight.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    # There is already a process for each core, and threads count as processes.
    AvifImagePlugin.DEFAULT_MAX_THREADS = 1
    connection = socket.socket(fileno=sys.stdin.fileno())
    shared = mmap.mmap(descriptor, MemoryLayout.of(spec).size)
    os.close(descriptor)
    # From here on, messages of the libraries about a hostile file are of no interest.
    silent = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silent, sys.stderr.fileno())
    os.close(silent)
    trials = [_sample(name) for name in ("JPEG", "PNG", "WEBP")]
    word = READY_LINES[confine(memory)]
    for trial in trials:  # does decoding still work when confined?
        prepare(trial, replace(spec, limits=TRIAL_LIMITS), ViewPlan(spec.max_views))
    connection.sendall(word)
    serve(connection, shared, spec)


def _sample(name: str) -> bytes:
    file = BytesIO()
    Image.new("RGB", (512, 512)).save(file, name)
    return file.getvalue()


def serve(connection: socket.socket, shared: mmap.mmap, spec: PreprocessSpec) -> None:
    """Answer requests, one after another."""
    layout = MemoryLayout.of(spec)
    room = np.frombuffer(shared, dtype=np.uint8, offset=layout.pixels_at)
    while request := connection.recv(REQUEST.size, socket.MSG_WAITALL):
        number, length, picture_side, most, turned = REQUEST.unpack(request)
        # CPU time; SIGPROF kills a process that exceeds it. The worker watches the clock, unless it was stopped.
        signal.setitimer(signal.ITIMER_PROF, spec.limits.timeout + 1)
        try:
            image = prepare(shared[:length], spec, ViewPlan(most, turned), picture_side)
            room[: image.pixels.size] = image.pixels.ravel()
            views = pack_views(image.views)
            shared[layout.views_at : layout.views_at + len(views)] = views
            write_pictures(image.pictures, shared, layout)
            reply = pack_image(number, image)
        except MemoryError:
            too_large = ImageTooLarge("the image needs more memory than allowed (MODERATOR_DECODE_MEMORY)")
            reply = pack_error(number, too_large)
        except Exception as error:
            reply = pack_error(number, error)
        signal.setitimer(signal.ITIMER_PROF, 0)
        connection.sendall(reply)


def write_pictures(pictures: Sequence[Image.Image], shared: mmap.mmap, layout: MemoryLayout) -> None:
    """Write the sizes of pictures and their pixels to the shared memory."""
    at = layout.pictures_at
    for number, picture in enumerate(pictures):
        struct.pack_into("<II", shared, layout.sizes_at + 8 * number, picture.width, picture.height)
        rows = picture.tobytes()
        shared[at : at + len(rows)] = rows
        at += len(rows)


if __name__ == "__main__":
    main()
