"""What it costs to decode in confined processes instead of threads, over 1024-px JPEG files.

Photographs go through `Moderator.prepare` from as many threads as there are decoders, as in the worker, in both ways in
turn. Besides the speed, it counts processor time, which a busy machine falsifies less: that of the worker's process (which
the model competes for) and of all. The third way has nothing to decode (the smallest file there is), so it shows what
the way to the process and back costs.

    python benchmarks/decode.py [--images 512] [--rounds 7] [--size 1024] [--side 224]

The last line is JSON; figures are medians over the rounds.
"""

import argparse
import os
import resource
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

sys.path.insert(0, str(Path(__file__).parent.parent))

from PIL import Image

from benchmarks.setup import make_photographs, print_result
from moderator.images.decode import DecodeLimits
from moderator.images.pool import DecoderPool
from moderator.images.prepare import Recipe, prepare
from moderator.images.resize import Resize
from moderator.settings import Settings


def cpu_seconds(pids: set[int]) -> tuple[float, float]:
    """Processor seconds of this process, and of the decoding processes, so far."""
    own = resource.getrusage(resource.RUSAGE_SELF)
    ticks = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        ticks += int(fields[11]) + int(fields[12])
    return own.ru_utime + own.ru_stime, ticks / os.sysconf("SC_CLK_TCK")


def main() -> None:
    """Measure both ways in turn."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=512, help="images in one round")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--size", type=int, default=1024, help="longer side of the photographs, in pixels")
    parser.add_argument("--side", type=int, default=224, help="side of the model's input, in pixels")
    options = parser.parse_args()
    settings, cores = Settings(), os.cpu_count() or 1
    recipe = Recipe(
        DecodeLimits.from_settings(settings), Resize(options.side, options.side), settings.jpeg_draft
    )
    with TemporaryDirectory() as folder:
        files = [path.read_bytes() for path in make_photographs(Path(folder), 64, options.size)]
    smallest = BytesIO()
    Image.new("L", (1, 1)).save(smallest, "PNG")
    started = time.perf_counter()
    pool = DecoderPool(recipe, cores, settings.decode_memory)
    start = time.perf_counter() - started
    ways = {
        "threads": (lambda data: prepare(data, recipe), files),
        "processes": (pool.prepare, files),
        "threads, nothing to decode": (lambda data: prepare(data, recipe), [smallest.getvalue()]),
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
    print_result(result)


if __name__ == "__main__":
    main()
