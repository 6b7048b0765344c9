"""Another Celery app on the same database, and a worker of ours that soon gives out again what is held for long."""

import subprocess
import sys
from pathlib import Path
from types import TracebackType

from celery import Celery

from tests.support.service import environment, until

#: Runs first in our worker, whose time limit for unacknowledged messages is two minutes.
IMPATIENT = """
import workers.app
workers.app.VISIBILITY_TIMEOUT_SECONDS = 2
import workers.recovery
workers.recovery.VISIBILITY_TIMEOUT_SECONDS = 2
"""

#: Its one task notes that it starts, and takes long.
APP = """
import sys, time
from celery import Celery
url, notes, seconds = sys.argv[1:]
app = Celery("shop", broker=url)
app.conf.update(task_acks_late=True, worker_prefetch_multiplier=1)
@app.task(name="shop.bill")
def bill(id):
    with open(notes, "a") as file:
        print(id, file=file)
    time.sleep(float(seconds))
app.worker_main(["worker", "--pool", "threads", "--concurrency", "4", "--loglevel", "WARNING"])
"""


class Neighbour:
    """A worker of the other app; runs within a `with` block.

    Args:
        url: of the server that it shares with us.
        folder: for its notes and its log.
        seconds: that its task takes.
    """

    def __init__(self, url: str, folder: Path, seconds: float) -> None:
        self._notes = folder / "started"
        self._notes.touch()
        self._app = Celery("shop", broker=url, set_as_current=False)
        with (folder / "neighbour.log").open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-c", APP, url, str(self._notes), str(seconds)],
                env={name: value for name, value in environment().items() if not name.startswith("CELERY_")},
                cwd=folder,
                stdout=output,
                stderr=output,
            )

    def __enter__(self) -> "Neighbour":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._app.close()
        self._process.kill()
        self._process.wait()

    def send(self, id: str) -> None:
        """Have a task started, and wait until it is."""
        self._app.send_task("shop.bill", [id])
        until(lambda: id in self.started(), timeout=60, what=f"the neighbour's task {id}")

    def started(self) -> list[str]:
        """The ids of the tasks, as often as each was started."""
        return self._notes.read_text().split()
