"""Measure the HTTP gateway.

  gateway  events that `moderator gateway` accepts a second, over 200 connections, with a key and its rate checked
  bare     the same over an endpoint that only pushes to Redis (`benchmarks/gateway_bare.py`), in turn
  sync     POST /v1/images?wait of a photograph until the verdict, a worker beside it, in turn with
  check    Moderator.check of the same file, in this process

    python benchmarks/gateway.py [--rounds 7] [--seconds 5] [--checks 60]

The last line is JSON: `gateway_over_bare` (events a second; goal: at least 0.8) and `sync_p50_over_check` (goal: at
most 1.3), the ratio of medians.
"""

import argparse
import http.client
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

sys.path.insert(0, str(Path(__file__).parent.parent))
from workers.torch_environment import set_torch_environment

# As in the worker, and before torch is loaded.
set_torch_environment()

import redis
import uvloop

from benchmarks.gateway_load import Trial, run_load
from benchmarks.setup import POLICIES, cpu_flags, make_photographs, print_result, service
from moderator.api import Moderator
from moderator.gateway import api_keys
from moderator.gateway.api_keys import Scope
from moderator.queue.embedded_server import EmbeddedServer, free_port
from moderator.queue.executors import RedisExecutor
from moderator.settings import Settings

START_SECONDS = 30.0
POLICY = "marketplace"


@contextmanager
def server_process(port: int, *command: str, **settings: str) -> Iterator[int]:
    """Run a server until the block ends; yields its port once it answers."""
    variables = {f"MODERATOR_{name.upper()}": value for name, value in settings.items()}
    process = subprocess.Popen(
        [sys.executable, *command], env={**os.environ, **variables}, stderr=subprocess.DEVNULL
    )
    try:
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
                connection.request("GET", "/openapi.json")
                connection.getresponse().read()
                break
            except OSError:
                if time.monotonic() > deadline or process.poll() is not None:
                    raise
                time.sleep(0.1)
        yield port
    finally:
        process.terminate()
        process.wait()


def make_key(url: str) -> str:
    """Make a key without a bound in practice; its rate is counted all the same."""
    key, credentials = api_keys.make_key()
    executor = RedisExecutor(redis.Redis.from_url(url))
    executor.run_each(api_keys.save(credentials, "bench", [Scope.SUBMIT], 1e6))
    return key


def measure_rate(rounds: int, seconds: float, connections: int) -> dict[str, float]:
    """Return the figures of accepting events."""
    root = str(Path(__file__).parent.parent)
    trials: dict[str, list[Trial]] = {"gateway": [], "bare": []}
    with TemporaryDirectory() as folder, ExitStack() as stack:
        os.environ["PYTHONPATH"] = root
        server = stack.enter_context(EmbeddedServer(Path(folder)))
        client = redis.Redis.from_url(server.url)
        ports = {"gateway": free_port(), "bare": free_port()}
        stack.enter_context(
            server_process(
                ports["gateway"],
                *("-m", "moderator", "gateway", "--port", str(ports["gateway"]), "--log-level", "warning"),
                redis_url=server.url,
                queue_limit="0",
                queue_bytes="0",
            )
        )
        bare = str(Path(__file__).with_name("gateway_bare.py"))
        stack.enter_context(server_process(ports["bare"], bare, server.url, str(ports["bare"])))
        for number in range(rounds + 1):
            for name in ("gateway", "bare") if number % 2 else ("bare", "gateway"):
                client.flushdb()
                header = f"Authorization: Bearer {make_key(server.url)}\r\n"
                load = run_load(ports[name], f"{name}{number}", header, connections, seconds)
                trial = uvloop.run(load)
                queue = {"gateway": "moderation", "bare": "bare"}[name]
                assert (client.llen(queue), trial.refused) == (trial.accepted, 0)
                if number:  # the first round warms up
                    trials[name].append(trial)
    print(f"\n  {'':8} {'events/s':>9} {'p50 ms':>8} {'p99 ms':>8}")
    figures = {}
    for name, found in trials.items():
        p50, p99 = (1000 * median(trial.quantile(share) for trial in found) for share in (0.5, 0.99))
        rate = median(trial.rate for trial in found)
        print(f"  {name:8} {rate:9.0f} {p50:8.1f} {p99:8.1f}")
        figures |= {f"{name}_per_s": round(rate), f"{name}_p99_ms": round(p99, 1)}
    pairs = zip(trials["gateway"], trials["bare"], strict=True)
    return {"gateway_over_bare": round(median(one.rate / other.rate for one, other in pairs), 3), **figures}


def measure_sync(checks: int) -> dict[str, float]:
    """Return the figures of a synchronous check."""
    with TemporaryDirectory() as folder, ExitStack() as stack:
        file = make_photographs(Path(folder), 1)[0]
        data = file.read_bytes()
        url, _ = stack.enter_context(service(Path(folder), policies=str(POLICIES)))
        key, port = make_key(url), free_port()
        gateway = ("-m", "moderator", "gateway", "--port", str(port), "--log-level", "warning")
        stack.enter_context(server_process(port, *gateway, redis_url=url))
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        headers = {"Authorization": f"Bearer {key}", "Content-Type": "image/jpeg"}
        moderator = Moderator(settings=Settings(policies=POLICIES))

        def ask() -> None:
            connection.request("POST", f"/v1/images?wait=30&policy={POLICY}", data, headers)
            answer = connection.getresponse()
            body = answer.read()
            assert answer.status == 200, body

        def check() -> None:
            moderator.check([file], policy=POLICY)

        times: dict[str, list[float]] = {"sync": [], "check": []}
        for number in range(checks + 5):
            for name, run in {"sync": ask, "check": check}.items():
                start = time.perf_counter()
                run()
                if number >= 5:
                    times[name].append(time.perf_counter() - start)
    p50 = {name: 1000 * median(values) for name, values in times.items()}
    print(f"\n  sync   p50 {p50['sync']:6.1f} ms\n  check  p50 {p50['check']:6.1f} ms\n")
    return {
        "sync_p50_over_check": round(p50["sync"] / p50["check"], 3),
        **{f"{name}_p50_ms": round(value, 1) for name, value in p50.items()},
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=5.0, help="of each trial")
    parser.add_argument("--connections", type=int, default=200)
    parser.add_argument("--checks", type=int, default=60, help="synchronous checks")
    options = parser.parse_args()
    print(f"CPU: {cpu_flags()}")
    rate = measure_rate(options.rounds, options.seconds, options.connections)
    print_result({**rate, **measure_sync(options.checks)})


if __name__ == "__main__":
    main()
