"""Check bulk embedding: no row missing or doubled after two kills, and memory that does not grow.

    python benchmarks/embed.py [--small 2000] [--large 20000]

Writes that many small photographs, made from those of the demo, and a few broken files into a temporary folder. Embeds
the small set in one run. Embeds the large set with `moderator embed`, which is killed twice (SIGKILL) in the middle and
run again. Peak memory is the highest resident size that Linux records for each process.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks.setup import make_photographs, print_result
from moderator.embeddings.embeddings_file import EmbeddingsFile

BROKEN = 3
#: Pixels on the longer side.
SIZE = 320


def peak_mb(pid: int) -> float:
    """Return the highest resident size so far, in MB of 10^6 bytes; 0 if the process has ended."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0.0
    line = next((line for line in status.splitlines() if line.startswith("VmHWM")), None)
    return int(line.split()[1]) * 1024 / 1e6 if line else 0.0


def embed(source: Path, output: Path, kill_after_rows: int | None = None) -> tuple[float, int | None]:
    """Run the command; return peak memory in MB, and the rows in finished parts if it was killed."""
    command = [sys.executable, "-m", "moderator", "embed", str(source), "-o", str(output), "--json"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    parts, peak, rows = output.with_name(f"{output.name}.parts"), 0.0, 0
    while process.poll() is None:
        peak = max(peak, peak_mb(process.pid))
        if kill_after_rows is not None:
            rows = sum(len(EmbeddingsFile(path)) for path in parts.glob("[0-9]*.parquet"))
            if rows >= kill_after_rows:
                os.kill(process.pid, signal.SIGKILL)
        time.sleep(0.1)
    if process.returncode not in (0, -signal.SIGKILL):
        sys.exit(f"embed ended with {process.returncode}")
    return peak, rows if process.returncode else None


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--small", type=int, default=2000, help="files of the small set")
    parser.add_argument("--large", type=int, default=20_000, help="files of the large set")
    arguments = parser.parse_args()
    with TemporaryDirectory(prefix="moderator-embed-") as name:
        folder = Path(name)
        files = {}
        for size in (arguments.small, arguments.large):
            (folder / str(size)).mkdir()
            files[size] = make_photographs(folder / str(size), size, SIZE)
            for number in range(BROKEN):
                (folder / str(size) / f"broken-{number}.jpg").write_bytes(b"\xff\xd8\xff and no more")
        small, large = arguments.small, arguments.large
        start = time.perf_counter()
        small_peak, _ = embed(folder / str(small), folder / "small.parquet")
        seconds = time.perf_counter() - start
        print(f"{small} files in one go: {seconds:.0f} s with starting, peak {small_peak:.0f} MB")
        output = folder / "large.parquet"
        large_peak = 0.0
        kills: list[int] = []
        for share in (0.3, 0.6, None):
            start = time.perf_counter()
            peak, rows = embed(folder / str(large), output, share and int(share * large))
            large_peak = max(large_peak, peak)
            kills += [] if rows is None else [rows]
            end = "to the end" if rows is None else f"killed with {rows} rows in parts"
            print(f"{large} files: {time.perf_counter() - start:.0f} s, {end}, peak {peak:.0f} MB")
        # Parts are written every 30 seconds, so a small set may finish before the first one.
        if len(kills) < 2 or not 0 < kills[0] < kills[1] < large:
            sys.exit(
                f"not killed twice in the middle of the work, but at {kills} rows: choose a larger --large"
            )
        counts = Counter(
            path for batch in EmbeddingsFile(output).batches(["path"]) for path in batch["path"].to_pylist()
        )
        report = output.with_name(f"{output.name}.failed.jsonl")
        failed = [json.loads(line)["path"] for line in report.read_text().splitlines()]
        expected = {str(path) for path in files[large]}
        print_result(
            {
                "benchmark": "embed",
                "files": large,
                "rows": counts.total(),
                "missing": len(expected - set(counts)),
                "doubled": sum(count > 1 for count in counts.values()),
                "broken": BROKEN,
                "reported": len(failed),
                "kills": len(kills),
                "rows_at_kills": kills,
                "peak_mb_2000": small_peak,
                "peak_mb_20000": large_peak,
                "peak_ratio": large_peak / small_peak,
                "small_files": small,
                "images_per_second_small": small / seconds,
            }
        )


if __name__ == "__main__":
    main()
