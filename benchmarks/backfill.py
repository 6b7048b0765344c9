"""Kill a backfill twice, and count what its result lacks or holds twice.

Writes distinct small JPEG files, made from the demo's photographs, starts a server and a worker with the embedded
encoder, and runs `moderator backfill` on them: killed with SIGKILL when about a third and two thirds of the verdicts
have come, then to its end, then once more.

  files        files in the folder
  results      rows in the Parquet files
  missing      files without a row
  doubled      rows beyond one for each file
  published    verdicts on the service's stream: more than files would mean that some were judged twice
  again        rows that the last run added: none

    python benchmarks/backfill.py [--files 5000]

The last line is JSON.
"""

import argparse
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

sys.path.insert(0, str(Path(__file__).parent.parent))

import json

import pyarrow.dataset

from benchmarks.setup import cpu_flags, make_photographs, print_result, service
from moderator.queue import keys
from moderator.queue.connection import Redis, connect

#: Pixels on the longer side: small, so that the run is short.
SIDE = 224


def start(folder: Path, output: Path, url: str) -> "subprocess.Popen[str]":
    """Start the command."""
    return subprocess.Popen(
        [sys.executable, "-m", "moderator", "backfill", str(folder), "-o", str(output), "--json"],
        env={**os.environ, "MODERATOR_REDIS_URL": url, "MODERATOR_FETCH_ROOTS": str(folder)},
        stdout=subprocess.PIPE,
        text=True,
    )


def kill_after(process: "subprocess.Popen[str]", redis: Redis, verdicts: int) -> None:
    """Kill a process when so many verdicts are published."""
    while redis.xlen(keys.VERDICTS) < verdicts:
        assert process.poll() is None, "it ended before it could be killed"
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate()


def finish(process: "subprocess.Popen[str]") -> dict[str, float]:
    """Wait for the command to end, and return its summary."""
    output, _ = process.communicate()
    assert process.returncode == 0, process.returncode
    summary: dict[str, float] = json.loads(output.splitlines()[-1])
    return summary


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--files", type=int, default=5000)
    options = parser.parse_args()
    print(f"CPU: {cpu_flags()}")
    with TemporaryDirectory() as text:
        folder, output = Path(text) / "files", Path(text) / "result"
        folder.mkdir()
        files = {str(path) for path in make_photographs(folder, options.files, SIDE)}
        with service(folder.parent) as (url, _):
            redis = connect(url)
            began = time.perf_counter()
            for share in (1 / 3, 2 / 3):
                kill_after(start(folder, output, url), redis, round(share * len(files)))
            finish(start(folder, output, url))
            seconds = time.perf_counter() - began
            again = finish(start(folder, output, url))["new"]
            published = redis.xlen(keys.VERDICTS)
        paths = pyarrow.dataset.dataset(output).to_table(columns=["path"]).column("path").to_pylist()
    figures = {
        "files": len(files),
        "results": len(paths),
        "missing": len(files - {*paths}),
        "doubled": len(paths) - len({*paths}),
        "published": published,
        "again": again,
        "images_per_second": round(len(files) / seconds, 1),
    }
    for name, value in figures.items():
        print(f"{name:18} {value:>8}")
    print_result(figures)


if __name__ == "__main__":
    main()
