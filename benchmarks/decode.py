"""Measure the cost of decoding in confined processes instead of threads, over 1024-px JPEG files.

One thread per decoder hands over photographs, as in the worker, in both ways in turn. Besides speed, it measures CPU
time, which a busy machine distorts less: of the worker's process (for which the model competes) and of all processes.
Then the same with the smallest possible file: there is nothing to decode, so it shows the cost of the round trip to
the process. With `--service`, it also runs two whole workers, one of each kind: bulk events to verdicts.

    python benchmarks/decode.py [--images 512] [--rounds 7] [--size 1024] [--side 224] [--service ENCODER]

The last line is JSON; figures are medians over the rounds.
"""

import argparse
import os
import resource
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from io import BytesIO
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

sys.path.insert(0, str(Path(__file__).parent.parent))

from PIL import Image

from benchmarks.setup import POLICIES, make_photographs, print_result, service
from moderator.client import Client
from moderator.images.decode import DecodeLimits
from moderator.images.pool import DecoderPool
from moderator.images.prepare import PreprocessSpec, prepare
from moderator.images.resize import Resize
from moderator.settings import Settings


def cpu_seconds(pids: set[int]) -> tuple[float, float]:
    """Return the CPU seconds so far of this process, and of the decoding processes."""
    own = resource.getrusage(resource.RUSAGE_SELF)
    ticks = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        ticks += int(fields[11]) + int(fields[12])
    return own.ru_utime + own.ru_stime, ticks / os.sysconf("SC_CLK_TCK")


def children(pid: int) -> set[int]:
    """Return the process ids of the children of a process."""
    stats = ((file.parent.name, file.read_text()) for file in Path("/proc").glob("[0-9]*/stat"))
    return {int(name) for name, stat in stats if int(stat.rsplit(")", 1)[1].split()[1]) == pid}


def is_worker(pid: int) -> bool:
    """Return whether a process belongs to `moderator worker`, and not to the server beside it."""
    return Path(f"/proc/{pid}/cmdline").read_bytes().endswith(b"\0worker\0")


def measure_service(encoder: str, images: int, rounds: int, size: int) -> dict[str, object]:
    """Measure a worker of each kind in turn: images/s, and CPU time including the model's."""
    from benchmarks.throughput import run_service

    ways = ("threads", "processes")
    figures: dict[str, list[tuple[float, float]]] = {way: [] for way in ways}
    with ExitStack() as stack:
        clients, pids, files = {}, {}, {}
        for way in ways:
            folder = Path(stack.enter_context(TemporaryDirectory()))
            files[way] = make_photographs(folder, images, size)
            before = children(os.getpid())
            options = {"encoder": encoder, "decode": way, "policies": str(POLICIES)}
            url, _ = stack.enter_context(service(folder, **options))
            clients[way] = Client(url, Settings(redis_url=url))
            (worker,) = (pid for pid in children(os.getpid()) - before if is_worker(pid))
            pids[way] = {worker, *children(worker)}
        for number in range(rounds + 1):
            for way in ways:
                before_cpu = cpu_seconds(pids[way])[1]
                speed = run_service(clients[way], files[way], bulk=True)
                if number:
                    used = cpu_seconds(pids[way])[1] - before_cpu
                    figures[way].append((speed, 1000 * used / images))
    print(f"service with {encoder}, bulk events")
    result: dict[str, object] = {}
    for way, values in figures.items():
        speed, used = median(v[0] for v in values), median(v[1] for v in values)
        print(f"{way:30} {speed:9.1f} {'':21} {used:7.3f}")
        result[way] = {"images_per_s": round(speed, 1), "ms_all": round(used, 3)}
    pairs = list(zip(figures["threads"], figures["processes"], strict=True))
    result["speed_ratio"] = round(median(b[0] / a[0] for a, b in pairs), 4)
    result["cpu_ratio"] = round(median(b[1] / a[1] for a, b in pairs), 4)
    return result


def main() -> None:
    """Measure both ways in turn."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=512, help="images in one round")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--size", type=int, default=1024, help="longer side of the photographs, in pixels")
    parser.add_argument("--side", type=int, default=224, help="side of the model's input, in pixels")
    parser.add_argument("--service", metavar="ENCODER", help="measure whole workers, too, e.g. embedded")
    options = parser.parse_args()
    settings, cores = Settings(), os.cpu_count() or 1
    spec = PreprocessSpec(
        DecodeLimits.from_settings(settings), Resize(options.side, options.side), settings.jpeg_draft
    )
    with TemporaryDirectory() as folder:
        files = [path.read_bytes() for path in make_photographs(Path(folder), 64, options.size)]
    smallest = BytesIO()
    Image.new("L", (1, 1)).save(smallest, "PNG")
    started = time.perf_counter()
    pool = DecoderPool(spec, cores, settings.decode_memory)
    start = time.perf_counter() - started
    ways = {
        "threads": (lambda data: prepare(data, spec), files),
        "processes": (pool.prepare, files),
        "threads, nothing to decode": (lambda data: prepare(data, spec), [smallest.getvalue()]),
        "processes, nothing to decode": (pool.prepare, [smallest.getvalue()]),
    }
    figures: dict[str, list[tuple[float, float, float]]] = {name: [] for name in ways}
    with ThreadPoolExecutor(cores) as threads:
        for number in range(options.rounds + 1):
            for name, (way, data) in ways.items():
                work = [data[n % len(data)] for n in range(options.images)]
                own, others = cpu_seconds(pool.pids)
                began = time.perf_counter()
                for _ in threads.map(way, work):
                    pass
                seconds = time.perf_counter() - began
                own_now, others_now = cpu_seconds(pool.pids)
                if number:  # the first round warms up
                    own, others = own_now - own, others_now - others
                    figures[name].append((seconds, own, own + others))
    pool.close()
    print(f"{cores} at once, mean file {sum(map(len, files)) / len(files) / 1000:.0f} kB")
    print(f"{'':30} {'images/s':>9} {'ms CPU/image, worker':>21} {'all':>7}")
    result: dict[str, object] = {"cores": cores, "start_s": round(start, 3)}
    for name, rounds in figures.items():
        speed = options.images / median(r[0] for r in rounds)
        own, total = (1000 * median(r[n] for r in rounds) / options.images for n in (1, 2))
        print(f"{name:30} {speed:9.1f} {own:21.3f} {total:7.3f}")
        key = name.replace(",", "").replace(" ", "_")
        result[key] = {"images_per_s": round(speed, 1), "ms_worker": round(own, 3), "ms_all": round(total, 3)}
    pairs = zip(figures["threads"], figures["processes"], strict=True)
    result["cpu_ratio"] = round(median(b[2] / a[2] for a, b in pairs), 4)
    pairs = zip(figures["threads"], figures["processes"], strict=True)
    result["speed_ratio"] = round(median(a[0] / b[0] for a, b in pairs), 4)
    if options.service:
        result["service"] = measure_service(options.service, options.images, options.rounds, options.size)
    print_result(result)


if __name__ == "__main__":
    main()
