"""Fuzz the gateway's API by its own OpenAPI document: no 5xx, nothing that the document does not say.

A gateway of its own on a server of its own, without a worker; a key without a bound. The last line is JSON. Ends with 1
where `schemathesis` found something.

    python -m tests.api.check_api [--cases 5000] [--seed 1]
"""

import argparse
import json
import re
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from moderator.queue.embedded_server import EmbeddedServer
from tests.support.gateway_process import GatewayProcess, make_key

#: Operations with parameters or a body, of which each gets as many cases; not the stream, which has no end.
OPERATIONS = 11


def fuzz(folder: Path, cases: int, seed: int) -> tuple[int, str]:
    """Run at least so many cases; return how many ran, and what was found ("": nothing)."""
    with EmbeddedServer(folder / "server") as server:
        short = {"hook_wait": "0.1", "gateway_wait": "0.1"}  # nothing comes: there is no worker
        gateway = GatewayProcess(
            folder / "gateway", redis_url=server.url, queue_limit="0", queue_bytes="0", **short
        )
        gateway.start()
        try:
            key = make_key(server.url, rate=0)
            run = subprocess.run(
                [
                    *(Path(sys.executable).with_name("schemathesis"), "run", f"{gateway.url}/openapi.json"),
                    *("--exclude-path", "/v1/verdicts/stream", "--exclude-path", "/metrics"),
                    *("--header", f"Authorization: Bearer {key}"),
                    *("--exclude-checks", "positive_data_acceptance,negative_data_rejection,ignored_auth"),
                    *("--phases", "examples,fuzzing", "--continue-on-failure"),
                    *("--max-examples", str(-(-cases // OPERATIONS)), "--seed", str(seed)),
                    *("--request-timeout", "30", "--generation-database", ":memory:", "--no-color"),
                ],
                cwd=folder,
                capture_output=True,
                text=True,
                check=False,
            )
            assert gateway.poll() is None, gateway.log
        finally:
            gateway.kill()
    counted = re.search(r"(\d+) generated", run.stdout)
    return int(counted[1]) if counted else 0, "" if run.returncode == 0 else run.stdout + run.stderr


def main() -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cases", type=int, default=5000, help="at least so many")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with TemporaryDirectory() as folder:
        count, found = fuzz(Path(folder), options.cases, options.seed)
    print(found)
    print(json.dumps({"cases": count, "good": not found}))
    return 1 if found or count < options.cases else 0


if __name__ == "__main__":
    sys.exit(main())
