"""The first signal stops, the second ends at once; in a process of its own, for signals are for whole processes."""

import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from workers.shutdown import SIGNALS

PROGRAM = """
import logging, threading, time
from workers.shutdown import Shutdown

def say(word):
    print(word, flush=True)

logging.basicConfig(format="%(message)s")
stopped = threading.Event()
with Shutdown() as shutdown:
    {body}
say("over")
{after}
"""
#: Serves until it is told to stop, and then has something to end.
SERVES = """
    shutdown.serve(lambda: (say("stop"), stopped.set()))
    say("ready")
    stopped.wait(20)
    time.sleep({end})
"""
EACH = pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)


@contextmanager
def program(
    body: str, after: str = "", ignored: signal.Signals | None = None
) -> Iterator["subprocess.Popen[str]"]:
    """Run it, and wait for its first line."""
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM.format(body=body.strip(), after=textwrap.dedent(after))],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=ignored and (lambda: signal.signal(ignored, signal.SIG_IGN)),
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield process
    finally:
        process.kill()
        process.wait()


@EACH
def test_the_first_signal_is_an_orderly_stop(number: signal.Signals) -> None:
    with program(SERVES.format(end=0.1)) as process:
        process.send_signal(number)
        output, errors = process.communicate(timeout=10)
    assert (process.returncode, output) == (0, "stop\nover\n")
    assert number.name in errors
    assert "Traceback" not in errors


@EACH
def test_the_second_signal_ends_at_once(number: signal.Signals) -> None:
    with program(SERVES.format(end=30)) as process:
        process.send_signal(signal.SIGTERM)
        assert process.stdout is not None
        assert process.stdout.readline() == "stop\n"
        process.send_signal(number)
        output, errors = process.communicate(timeout=10)
    assert (process.returncode, output) == (128 + number, "")
    assert "Traceback" not in errors


@EACH
def test_before_anything_is_in_hand_the_first_signal_ends_at_once(number: signal.Signals) -> None:
    with program("say('ready'); time.sleep(30)") as process:
        process.send_signal(number)
        output, errors = process.communicate(timeout=10)
    assert (process.returncode, output) == (0, "")
    assert "Traceback" not in errors


def test_a_main_thread_that_hangs_delays_nothing() -> None:
    """It waits in C, for a lock that it holds: Python runs no handler of a signal there."""
    body = """
    import ctypes
    shutdown.serve(lambda: say("stop"))
    say("ready")
    lock = ctypes.create_string_buffer(64)
    for _ in range(2):
        ctypes.CDLL(None).pthread_mutex_lock(lock)
    """
    with program(body) as process:
        assert process.stdout is not None
        process.send_signal(signal.SIGTERM)
        assert process.stdout.readline() == "stop\n"
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=10) == 130


def test_a_reader_of_the_log_that_stopped_reading_delays_little() -> None:
    body = "import sys; threading.Thread(target=sys.stderr.write, args=('x' * 10**6,), daemon=True).start()"
    with program(body + SERVES.format(end=30)) as process:
        process.send_signal(signal.SIGTERM)
        assert process.stdout is not None
        assert process.stdout.readline() == "stop\n"
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=10) == 143


def test_under_nohup_a_closed_terminal_changes_nothing() -> None:
    with program(SERVES.format(end=0), ignored=signal.SIGHUP) as process:
        process.send_signal(signal.SIGHUP)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.3)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=10) == 0


def test_a_signal_while_the_interpreter_ends_changes_nothing() -> None:
    """Or a worker that ended as it should would say that it did not."""
    body = "shutdown.serve(stopped.set); say('ready'); stopped.wait(20)"
    with program(body, after="time.sleep(0.5)") as process:
        process.send_signal(signal.SIGTERM)
        assert process.stdout is not None
        assert process.stdout.readline() == "over\n"
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=10) == 0
