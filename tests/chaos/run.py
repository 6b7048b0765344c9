"""Faults under load: is every accepted event answered, and only once?

Each row of the table is a fault that strikes several times while events come in: a service of its own (server, one
worker, the embedded encoder), a caller who submits all the time, and at the end a count. `lost` are events that the
caller was told are accepted and that have no verdict (an `error` verdict with its dead letter is one); `in window`,
those accepted so shortly before the fault that nobody promised to keep them, as `--list` says; `doubled`, verdicts
too many; `refused`, answers to the caller that an event is not accepted; `recovery`, the longest time in seconds from
the end of a fault to the next verdict. The last line is one JSON object. Ends with 1 if anything was lost or
doubled, or was otherwise not as promised.
"""

import argparse
import json
import secrets
import signal
import sys
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.chaos.catalogue import FAULTS
from tests.chaos.fault import Row, play

COLUMNS = ("trials", "events", "lost", "in window", "doubled", "refused", "recovery", "seconds")
WIDTH = max(map(len, FAULTS))


def main() -> int:
    """Entry point."""
    arguments = _read_arguments()
    if arguments.list:
        for name, fault in FAULTS.items():
            print(f"{name:{WIDTH}}  {fault.trials[arguments.quick]:>2} x  {fault.what}")
        return 0
    # Under nohup, the workers would ignore it, too.
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    print(f"seed {arguments.seed}")
    print(f"{'fault':{WIDTH}}", *(f"{column:>9}" for column in COLUMNS), flush=True)
    rows = []
    with TemporaryDirectory(prefix="moderator-chaos-cache-") as cache:
        for name in arguments.only or FAULTS:
            row = play(
                FAULTS[name],
                quick=arguments.quick,
                cache=Path(cache),
                seed=arguments.seed,
                events=arguments.events,
            )
            rows.append(row)
            _show(row)
    totals = {
        key: sum(getattr(row, key) for row in rows) for key in ("events", "verdicts", "lost", "doubled")
    }
    print(json.dumps({**totals, "seed": arguments.seed, "rows": [asdict(row) for row in rows]}))
    return 0 if all(row.good for row in rows) else 1


def _read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.chaos",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--only",
        action="append",
        choices=FAULTS,
        metavar="FAULT",
        help="this row; may be given several times",
    )
    parser.add_argument(
        "--quick", action="store_true", help="few trials, short outages: three minutes in all"
    )
    parser.add_argument("--events", type=int, metavar="N", help="at least so many a row; 300, --quick: 30")
    parser.add_argument(
        "--seed", type=int, metavar="N", help="of the moments of faults; without it, another each time"
    )
    parser.add_argument("--list", action="store_true", help="say what the faults are, and end")
    arguments = parser.parse_args()
    if arguments.events is None:
        arguments.events = 30 if arguments.quick else 300
    if arguments.seed is None:
        arguments.seed = secrets.randbelow(1_000_000)
    return arguments


def _show(row: Row) -> None:
    if row.skipped is not None:
        print(f"{row.fault:{WIDTH}} skipped: {row.skipped}", flush=True)
        return
    cells = (
        row.trials,
        row.events,
        row.lost,
        row.lost_in_window,
        row.doubled,
        row.refused,
        row.recovery_s,
        row.seconds,
    )
    print(f"{row.fault:{WIDTH}}", *(f"{cell:>9}" for cell in cells))
    for problem in row.problems:
        print(f"  ! {problem}")
    sys.stdout.flush()
