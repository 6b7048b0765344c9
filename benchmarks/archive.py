"""Measure the archive: is each verdict in it once, whatever is killed, and what does it cost the service?

First, the archiver is killed (SIGKILL) at random moments while verdicts with embeddings come, on SQLite and, where its
programs are installed, on PostgreSQL: `missing` and `doubled` count verdicts and embeddings against the stream.
`repeated` is how many were given to an archiver again because a killed one had written and not confirmed them.

Then two services run side by side, each with its own server and worker; only one has work at a time, in turn:

  without   verdicts alone, the service's default
  archived  the worker also writes each verdict, its readings and its embedding to an archive in SQLite

    python benchmarks/archive.py [--verdicts 10000] [--kills 10] [--images 512] [--rounds 9] [--only kills|speed]

The last line is JSON; the ratio is the median over the rounds.
"""

import argparse
import sys
import time
from contextlib import ExitStack, closing
from dataclasses import asdict
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks.archive_kills import KillRow, run_kills
from benchmarks.setup import POLICIES, cpu_flags, make_photographs, print_result, service
from benchmarks.throughput import run_service
from moderator.archive.archive_state import read_state
from moderator.archive.archive_store import open_archive
from moderator.client import Client
from moderator.queue.embedded_server import EmbeddedServer
from moderator.queue.outbox import Outbox
from moderator.settings import Settings
from tests.support.postgres import PostgresServer, find_programs

#: Verdicts a second while the archiver is killed.
RATE = 250.0


def measure_kills(verdicts: int, kills: int) -> list[KillRow]:
    """Kill the archiver of each database, and print what is there at the end."""
    rows = []
    with TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        urls = [f"sqlite:///{folder}/archive.sqlite3"]
        if find_programs() is not None:
            urls.append(stack.enter_context(PostgresServer()).url)
        else:
            print("PostgreSQL is not installed: apt-get install postgresql")
        columns = list(KillRow.__dataclass_fields__)
        print("  " + " ".join(f"{column:>10}" for column in columns))
        for number, url in enumerate(urls):
            with EmbeddedServer(folder / f"redis-{number}") as server:
                segments = folder / f"segments-{number}"
                row = run_kills(server.url, url, segments, verdicts, kills, RATE)
            print("  " + " ".join(f"{getattr(row, column):>10}" for column in columns), flush=True)
            rows.append(row)
    return rows


def measure_speed(images: int, rounds: int) -> dict[str, object]:
    """Measure a service with and without an archive, and print both."""
    with TemporaryDirectory() as one, TemporaryDirectory() as other, ExitStack() as stack:
        folders = {"without": Path(one), "archived": Path(other)}
        url = f"sqlite:///{other}/archive.sqlite3"
        extra: dict[str, dict[str, str]] = {"without": {}, "archived": {"archive_url": url}}
        clients, files = {}, {}
        for way, folder in folders.items():
            files[way] = make_photographs(folder, images)
            redis_url, _ = stack.enter_context(service(folder, policies=str(POLICIES), **extra[way]))
            clients[way] = Client(redis_url, Settings(redis_url=redis_url))
        box = Outbox(clients["archived"].redis, "archive")
        archive = stack.enter_context(closing(open_archive(Settings(archive_url=url))))
        speeds: dict[str, list[float]] = {way: [] for way in folders}
        for number in range(rounds + 1):
            for way in sorted(folders, reverse=number % 2 == 1):
                speed = run_service(clients[way], files[way], bulk=True)
                while len(box):
                    time.sleep(0.05)
                if number:  # the first round warms up
                    speeds[way].append(speed)
                time.sleep(0.2)
        archived = read_state(archive).verdicts
        assert archived == images * (rounds + 1), f"{archived} verdicts in the archive"
    print(f"  {'':10} {'images/s':>9} {'min':>7} {'max':>7}")
    for way, values in speeds.items():
        print(f"  {way:10} {median(values):9.1f} {min(values):7.1f} {max(values):7.1f}")
    ratio = median(a / b for a, b in zip(speeds["archived"], speeds["without"], strict=True))
    return {
        "archived_over_without": round(ratio, 3),
        "images_per_s": round(median(speeds["without"]), 1),
    }


def main() -> int:
    """Measure and print; 1 if a verdict is missing or there twice."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--verdicts", type=int, default=10_000, help="verdicts while the archiver is killed")
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--images", type=int, default=512, help="images in one round")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--only", choices=("kills", "speed"))
    options = parser.parse_args()
    print(f"CPU: {cpu_flags()}")
    rows = [] if options.only == "speed" else measure_kills(options.verdicts, options.kills)
    speed = {} if options.only == "kills" else measure_speed(options.images, options.rounds)
    print_result(
        {
            "archived": sum(row.archived for row in rows),
            "missing": sum(row.missing for row in rows),
            "doubled": sum(row.doubled for row in rows),
            **speed,
            "rows": [asdict(row) for row in rows],
        }
    )
    return int(any(row.missing or row.doubled for row in rows))


if __name__ == "__main__":
    sys.exit(main())
