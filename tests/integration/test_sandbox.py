"""Decoding processes: confined, killed, hung, hostile; and what the worker makes of an image that does it to them."""

import io
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from moderator import Decision
from moderator.errors import (
    DecoderCrashed,
    DecoderUnavailable,
    DecodeTimeout,
    ImageTooLarge,
    ModeratorError,
    NotAnImage,
)
from moderator.images import process as process_module
from moderator.images.decode import DecodeLimits
from moderator.images.pool import DecoderPool
from moderator.images.prepare import PreparedImage, PreprocessSpec, prepare
from moderator.images.resize import Resize
from moderator.queue.embedded_server import EmbeddedServer
from moderator.view import ViewPlan
from tests.integration.conftest import StartWorker
from tests.support.hostile_images import slow_png
from tests.support.service import DEMO, make_client, until

SPEC = PreprocessSpec(
    DecodeLimits(max_bytes=5_000_000, max_pixels=80_000_000, max_frames=4, timeout=10.0),
    Resize(64, 64),
    draft=True,
    max_views=6,
)
PLAN = ViewPlan(6, turned=True)
MEMORY = 2_000_000_000
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="Linux alone has it")


@contextmanager
def pool(
    spec: PreprocessSpec = SPEC, size: int = 1, memory: int = MEMORY, losses: list[str] | None = None
) -> Iterator[DecoderPool]:
    made = DecoderPool(spec, size, memory, (losses if losses is not None else []).append)
    try:
        yield made
    finally:
        made.close()


def encode(image: Image.Image, name: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, name, **options)
    return file.getvalue()


def small() -> bytes:
    return encode(Image.new("RGB", (30, 20), (9, 99, 199)), "PNG")


def in_background(work: Callable[[], PreparedImage]) -> "Future[PreparedImage]":
    future: Future[PreparedImage] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except Exception as error:
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return future


def state(pid: int) -> str:
    """One letter of the kernel's; empty when the process is gone, or only waits to be buried."""
    try:
        letter = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return ""
    return "" if letter in "ZX" else letter


# --- what it is for


def test_the_answer_is_that_of_a_thread() -> None:
    images = [file.read_bytes() for file in sorted(DEMO.iterdir()) if file.suffix != ".md"]
    noise = Image.effect_noise((50, 40), 90)
    for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16"):
        images.append(encode(noise.convert("L").convert(mode), "PNG"))
    images += [
        encode(noise.convert("RGB"), name) for name in ("JPEG", "GIF", "WEBP", "AVIF", "BMP", "TIFF", "ICO")
    ]
    images += [encode(noise.convert("CMYK"), "JPEG"), encode(noise.convert("F"), "TIFF")]
    collage = Image.new("RGB", (400, 300), "white")
    collage.paste(Image.open(DEMO / "cat.jpg").resize((150, 120)), (30, 20))
    images += [encode(collage, "JPEG"), encode(collage.resize((90, 2000)), "PNG")]
    in_noise = Image.effect_noise((400, 300), 90).convert("RGB")
    in_noise.paste(Image.open(DEMO / "cat.jpg").resize((150, 120)), (130, 90))
    images.append(encode(in_noise, "PNG"))
    images.append(encode(noise.convert("RGB"), "MPO", save_all=True, append_images=[noise.convert("RGB")]))
    images += [encode(noise.convert("L"), "TIFF", compression=c) for c in ("tiff_lzw", "jpeg", "zstd")]
    for name in ("GIF", "PNG", "WEBP", "AVIF", "TIFF"):
        frames = [noise.rotate(n).convert("RGB") for n in range(6)]
        images.append(encode(frames[0], name, save_all=True, append_images=frames[1:]))
    exif = Image.Exif()
    exif[0x0112] = 6
    images += [
        encode(noise.convert("RGB"), name, exif=exif) for name in ("JPEG", "PNG", "WEBP", "AVIF", "TIFF")
    ]
    with pool() as decoders:
        pids = decoders.pids
        for data in images:
            assert decoders.prepare(data).pictures == ()
            found, expected = decoders.prepare(data, PLAN, 16), prepare(data, SPEC, PLAN, 16)
            assert (found.views, found.left_out) == (expected.views, expected.left_out)
            assert (found.width, found.height, found.format) == (
                expected.width,
                expected.height,
                expected.format,
            )
            np.testing.assert_array_equal(found.pixels, expected.pixels)
            for picture, seen in zip(found.pictures, expected.pictures, strict=True):
                np.testing.assert_array_equal(np.asarray(picture), np.asarray(seen))
        for bad in (b"", b"%PDF-1.7", images[0][:900], bytes(6_000_000)):
            with pytest.raises(ModeratorError) as theirs:
                decoders.prepare(bad)
            with pytest.raises(ModeratorError) as ours:
                prepare(bad, SPEC)
            assert (type(theirs.value), str(theirs.value)) == (type(ours.value), str(ours.value))
        assert decoders.pids == pids


def test_many_threads_share_a_pool() -> None:
    images = [encode(Image.new("RGB", (40, 40), (n, 0, 0)), "PNG") for n in range(40)]
    with pool(size=2) as decoders:
        futures = [in_background(lambda data=data: decoders.prepare(data)) for data in images]
        for n, future in enumerate(futures):
            assert future.result(60).pixels[0, 0, 0].tolist() == [n, 0, 0]


# --- confinement


@LINUX
def test_a_process_can_open_start_and_reach_nothing() -> None:
    program = """
import os, signal, socket, sys, threading
from moderator.images.seccomp import confine
sealed = confine(2_000_000_000)
attempts = {
    "open": lambda: open("/etc/hostname"),
    "write": lambda: open("/dev/null", "w"),
    "socket": lambda: socket.socket(),
    "pipe": lambda: os.pipe(),
    "fork": lambda: os.fork() or os._exit(0),
    "exec": lambda: os.execv("/bin/true", ["true"]),
    "kill": lambda: os.kill(os.getppid(), 0),
    "thread": lambda: threading.Thread(target=print).start(),
    "memory": lambda: bytearray(3_000_000_000),
    "unlink": lambda: os.unlink("/nowhere"),
}
failed = []
for name, attempt in attempts.items():
    try:
        attempt()
    except (OSError, MemoryError, RuntimeError) as error:
        if isinstance(error, FileNotFoundError):
            continue
        failed.append(name)
print(sealed, *failed, flush=True)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    )
    sealed, *failed = done.stdout.split()
    expected = {"open", "write", "socket", "pipe", "memory"}
    if sealed == "True":
        expected |= {"fork", "exec", "kill", "thread", "unlink"}
    assert expected <= set(failed), done.stdout


@LINUX
def test_a_process_knows_no_secrets_and_leaves_no_core(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODERATOR_WEBHOOK_SECRET", "whsec_c2VjcmV0")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    with pool() as decoders:
        (pid,) = decoders.pids
        assert "SECRET" not in Path(f"/proc/{pid}/environ").read_text()
        limits = Path(f"/proc/{pid}/limits").read_text()
        status = Path(f"/proc/{pid}/status").read_text()
        libraries = Path(f"/proc/{pid}/maps").read_text()
    for name in ("core file size", "file size", "open files"):
        assert re.search(rf"Max {name} +0 +0 ", limits), limits
    assert re.search(rf"Max address space +{MEMORY} +{MEMORY} ", limits), limits
    assert "NoNewPrivs:\t1" in status
    assert "torch" not in libraries


# --- death


@pytest.mark.parametrize(
    ("number", "error", "reason", "words"),
    [
        (signal.SIGSEGV, DecoderCrashed, "crash", "SIGSEGV"),
        (signal.SIGABRT, DecoderCrashed, "crash", "SIGABRT"),
        (signal.SIGKILL, DecoderCrashed, "killed", "memory"),
        (signal.SIGPROF, DecodeTimeout, "timeout", "MODERATOR_DECODE_TIMEOUT"),
    ],
)
def test_a_process_that_dies_over_an_image_is_replaced(
    number: signal.Signals, error: type[ModeratorError], reason: str, words: str
) -> None:
    losses: list[str] = []
    with pool(losses=losses) as decoders:
        (pid,) = decoders.pids
        os.kill(pid, signal.SIGSTOP)  # so that the image is in it when it dies
        future = in_background(lambda: decoders.prepare(small()))
        os.kill(pid, number)
        os.kill(pid, signal.SIGCONT)
        with pytest.raises(error, match=words):
            future.result(60)
        assert losses == [reason]
        assert decoders.prepare(small()).width == 30
        assert pid not in decoders.pids
        assert state(pid) == ""


def test_a_process_that_hangs_is_replaced() -> None:
    losses: list[str] = []
    with pool(replace(SPEC, limits=replace(SPEC.limits, timeout=0.2)), losses=losses) as decoders:
        (pid,) = decoders.pids
        os.kill(pid, signal.SIGSTOP)
        with pytest.raises(DecodeTimeout):
            decoders.prepare(small())
        assert losses == ["timeout"]
        assert decoders.prepare(small()).width == 30
        assert pid not in decoders.pids


def test_one_frame_that_takes_too_long_is_cut_off() -> None:
    with pool(replace(SPEC, limits=replace(SPEC.limits, timeout=0.1))) as decoders:
        with pytest.raises(DecodeTimeout):
            decoders.prepare(slow_png())
        assert decoders.prepare(small()).width == 30


def test_an_image_that_needs_more_memory_than_allowed_is_refused_and_the_process_lives() -> None:
    losses: list[str] = []
    with pool(memory=500_000_000, losses=losses) as decoders:
        pids = decoders.pids
        large = encode(Image.new("L", (8900, 8900)), "PNG")
        for _ in range(2):
            with pytest.raises(ImageTooLarge, match="memory"):
                decoders.prepare(large)
            assert decoders.prepare(small()).width == 30
        assert (decoders.pids, losses) == (pids, [])


def test_a_pool_whose_processes_do_not_start_says_so() -> None:
    with pytest.raises(DecoderUnavailable, match="MODERATOR_DECODE_MEMORY"):
        DecoderPool(SPEC, 2, memory=1_000_000)


# --- a process that was taken over


HOSTILE = """
import mmap, os, socket, struct, sys, time
connection = socket.socket(fileno=0)
connection.sendall(b"sealed.\\n")
while request := connection.recv(25):
{body}
"""
PICTURE = (
    'b"\\1" + request[:8] + struct.pack("<IIIIIIII?8s32s512s", '
    '3, 2, {frames}, {frames}, 0, 1, 1, 0, 0, b"png", b"", b"")'
)


@pytest.mark.parametrize(
    ("body", "error", "reason"),
    [
        ("connection.sendall(b'x' * 594)", DecoderCrashed, "reply"),
        ("connection.sendall(b'x' * 100); connection.close(); time.sleep(99)", DecoderCrashed, "reply"),
        ("connection.sendall(" + PICTURE.format(frames=1000) + ")", DecoderCrashed, "reply"),
        (
            "os.ftruncate(int(sys.argv[-2]), 0); connection.sendall(" + PICTURE.format(frames=4) + ")",
            DecoderCrashed,
            "reply",
        ),
        ("[(connection.sendall(b'\\1'), time.sleep(0.05)) for _ in range(900)]", DecodeTimeout, "timeout"),
        (
            "request = bytes(25); connection.sendall(" + PICTURE.format(frames=1) + ")",
            DecoderCrashed,
            "reply",
        ),
        ("os._exit(3)", DecoderCrashed, "crash"),
    ],
)
def test_a_hostile_process_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str, error: type[ModeratorError], reason: str
) -> None:
    monkeypatch.setattr(process_module, "_EXIT_WAIT_SECONDS", 0.2)
    program = tmp_path / "hostile.py"
    program.write_text(HOSTILE.format(body="    " + body))
    script = tmp_path / "python"
    script.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{program}" "$@"\n')
    script.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(script))
    losses: list[str] = []
    with pool(replace(SPEC, limits=replace(SPEC.limits, timeout=1.0)), losses=losses) as decoders:
        pids = decoders.pids
        with pytest.raises(error):
            decoders.prepare(small())
        assert losses == [reason]
        until(lambda: decoders.pids and not decoders.pids & pids)


def test_a_process_that_was_interrupted_answers_no_other_image(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with pool() as decoders:
        pids = decoders.pids
        with monkeypatch.context() as patch:
            patch.setattr(process_module.DecoderProcess, "_receive", interrupt)
            with pytest.raises(KeyboardInterrupt):
                decoders.prepare(encode(Image.new("RGB", (50, 50)), "PNG"))
        assert decoders.prepare(small()).width == 30
        assert not decoders.pids & pids


# --- the end


def test_closing_leaves_nothing() -> None:
    with pool(size=2) as decoders:
        pids = decoders.pids
        assert len(pids) == 2
        os.kill(min(pids), signal.SIGSTOP)
    assert [state(pid) for pid in pids] == ["", ""]


@LINUX
def test_no_process_outlives_a_worker_that_is_killed() -> None:
    program = """
import sys, time
from tests.integration.test_sandbox import SPEC, MEMORY, DecoderPool
print(*DecoderPool(SPEC, 2, MEMORY).pids, flush=True)
time.sleep(600)
"""
    parent = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, cwd=Path(__file__).parents[2]
    )
    try:
        assert parent.stdout is not None
        pids = [int(pid) for pid in parent.stdout.readline().split()]
        assert len(pids) == 2
        assert all(state(pid) for pid in pids)
        os.kill(pids[0], signal.SIGSTOP)  # as if it hung: it will not notice that its socket closed
    finally:
        parent.kill()
        parent.wait()
        assert parent.stdout is not None
        parent.stdout.close()
    until(lambda: not any(map(state, pids)), what="the end of the decoding processes")


@LINUX
def test_signals_to_the_whole_service_leave_the_decoding_to_the_worker() -> None:
    with pool() as decoders:
        (pid,) = decoders.pids
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT, signal.SIGHUP):
            os.kill(pid, number)
        assert decoders.prepare(small()).width == 30
        assert decoders.pids == {pid}
        assert os.getpgid(pid) != os.getpgid(0)  # Ctrl-C does not reach it


# --- the worker


@pytest.mark.slow
def test_a_poison_image_ends_in_one_dead_letter_and_harms_no_other(
    server: EmbeddedServer, start_worker: StartWorker, images: Path, small_images: list[Path]
) -> None:
    """It overruns its decoder each time; the worker tries it twice, and others go on meanwhile."""
    poison = images / "poison.png"
    poison.write_bytes(slow_png())
    worker = start_worker(server.url, decode_timeout="0.1", max_attempts="5", threads="2")
    client = make_client(server.url)
    event = client.submit(path=poison, id="poison")
    others = [client.submit(path=file, id=f"good-{n}") for n, file in enumerate(small_images)]
    for other in others:
        assert client.wait(other.id).decision is not Decision.ERROR
    verdict = client.wait(event.id, timeout=60)
    assert (verdict.decision, verdict.error.type) == (Decision.ERROR, "DecodeTimeout")
    metrics = worker.metrics()
    assert metrics["moderation_decoder_restarts_total{reason=timeout}"] == 2
    assert metrics["moderation_dead_letters"] == 1
    assert metrics["moderation_failures_total{error=DecodeTimeout,stage=decode}"] == 2
    assert client.ledger.pending() == 0
    answered = [v.event_id for _, v in client.verdicts.tail("0", follow=False)]
    assert sorted(answered) == sorted([event.id, *(other.id for other in others)])
    children = _children(worker.pid)
    assert children
    assert worker.stop() == 0
    assert "Traceback" not in worker.log
    assert not any(map(state, children))


def _children(pid: int) -> list[int]:
    found = []
    for file in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            if int(file.read_text().rsplit(")", 1)[1].split()[1]) == pid:
                found.append(int(file.parent.name))
    return found


def test_what_is_no_image_costs_no_process() -> None:
    losses: list[str] = []
    with pool(losses=losses) as decoders:
        for _ in range(3):
            with pytest.raises(NotAnImage):
                decoders.prepare(b"<svg/>")
        assert losses == []
