"""One side of `compare.py`: runs a service from the tree that it is started in, and measures on request."""

import json
import sys
import time
from pathlib import Path

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
                case ["bulk", *_]:
                    time.sleep(BULK_HOLDS_BACK_SECONDS)
                    values = [run_service(client, files, bulk=True)]
                case ["single", *_]:
                    values = [run_service(client, files, bulk=False)]
                case ["idle", *_]:
                    values = [1000 * one(client, file) for file in files[:EVENTS]]
                case ["loaded", rate]:
                    values = [1000 * seconds for seconds in under_load(client, files, float(rate), SECONDS)]
                    # `under_load` names its events by number, and the next ones must be new.
                    client.redis.flushdb()
            print(json.dumps(values), flush=True)


def one(client: Client, file: Path) -> float:
    """Return the seconds that one event takes on an idle service."""
    start = time.perf_counter()
    client.wait(client.submit(path=file, policy="classic").id)
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
