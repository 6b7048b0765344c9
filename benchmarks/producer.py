"""One producer of `load.py`, in its own process: submits bulk messages at a steady rate.

When the queue is full, it waits as long as the refusal says, and retries the same message.

Prints "ready", starts when it reads a line, and ends with a line of JSON.
"""

import argparse
import itertools
import json
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from moderator.client import Client
from moderator.errors import QueueFull


def main() -> None:
    """Submit messages until the end, and print the counts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--name", required=True, help="before the number of each message, in its id")
    parser.add_argument("--images", type=Path, required=True, help="folder of JPEG files")
    parser.add_argument("--size", type=int, required=True, help="images of a message")
    parser.add_argument("--rate", type=float, required=True, help="messages a second")
    parser.add_argument("--messages", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    options = parser.parse_args()
    client, files = Client(), itertools.cycle(sorted(options.images.glob("*.jpg")))
    client.redis.ping()
    print("ready", flush=True)
    sys.stdin.readline()

    start = time.monotonic()
    end, due = start + options.seconds, start
    tried, accepted, calls, refused = 0, 0, [], 0
    for number in range(options.messages):
        images = [{"path": str(next(files))} for _ in range(options.size)]
        time.sleep(max(0.0, due - time.monotonic()))
        tried += time.monotonic() < end
        while time.monotonic() < end:
            asked = time.perf_counter()
            try:
                client.submit_many(images, policy="classic", id=f"{options.name}-{number}", source="load")
            except QueueFull as full:
                calls.append(time.perf_counter() - asked)
                refused += 1
                time.sleep(max(0.0, min(full.retry_after, end - time.monotonic())))
            else:
                calls.append(time.perf_counter() - asked)
                accepted += 1
                break
        if time.monotonic() >= end:
            break
        # Count from now, not from the start, so that no burst follows a wait.
        due = max(due, time.monotonic() - 1 / options.rate) + 1 / options.rate
    print(json.dumps({"tried": tried, "accepted": accepted, "refused": refused, "calls": calls}))


if __name__ == "__main__":
    main()
