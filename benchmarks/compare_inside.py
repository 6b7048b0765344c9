"""One side of `compare.py`: runs a service from the tree that it is started in, and measures on request."""

import json
import os
import sys
import time
from pathlib import Path
from statistics import median

os.environ.setdefault("GOMP_SPINCOUNT", "1000")

import numpy as np

from benchmarks.latency import under_load
from benchmarks.setup import POLICIES, make_clip, make_photographs, service
from benchmarks.throughput import run_service
from moderator.client import Client
from moderator.settings import Settings

#: Number of events sent one at a time, and seconds under load.
EVENTS, SECONDS = 20, 6.0
#: How long bulk waits after an interactive event: the worker's `EXPECTED_SECONDS`, whose name differs between trees.
BULK_HOLDS_BACK_SECONDS = 5.0


def main() -> None:
    """Answer each line of standard input with a line of JSON."""
    folder, name, dtype, images = Path(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4])
    encoder = f"clip:{make_clip(folder / 'clip')}" if name == "vit-b-32" else name
    files = make_photographs(folder, images)
    settings = {"encoder": encoder, "dtype": dtype, "policies": str(POLICIES)}
    with service(folder, **settings) as (url, _):
        client = Client(url, Settings(redis_url=url))
        for line in sys.stdin:
            match line.split():
                case ["bulk"]:
                    time.sleep(BULK_HOLDS_BACK_SECONDS)
                    figures = {"bulk": run_service(client, files, bulk=True)}
                case ["single"]:
                    figures = {"single": run_service(client, files, bulk=False)}
                case ["idle"]:
                    figures = {"idle": 1000 * median(one(client, file) for file in files[:EVENTS])}
                case ["loaded", rate]:
                    times = under_load(client, files, float(rate), SECONDS)
                    p50, p99 = (1000 * float(np.quantile(times, share)) for share in (0.5, 0.99))
                    figures = {"loaded_p50": p50, "loaded_p99": p99}
                    # `under_load` names its events by number, and the next ones must be new.
                    client.redis.flushdb()
            print(json.dumps(figures), flush=True)


def one(client: Client, file: Path) -> float:
    """Return the seconds that one event takes on an idle service."""
    start = time.perf_counter()
    client.wait(client.submit(path=file, policy="classic").id)
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
