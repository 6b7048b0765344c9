"""A failover to a replica under Sentinel. Replication is asynchronous: what the replica has not got is lost."""

import signal
import time
from pathlib import Path
from typing import ClassVar

from tests.chaos.fault import Fault
from tests.chaos.stage import Stage
from tests.support.hostile_images import large_jpeg
from tests.support.sentinel import ReplicatedServer


class Failover(Fault):
    name = "failover"
    what = "the primary is killed, and Sentinel promotes its replica; what was accepted in the last 1 s may be lost"
    trials = (2, 1)
    #: Seconds that a replica which keeps up may be behind, and that it is held up.
    window: ClassVar[float] = 1.0
    behind: ClassVar[float] = 0.0

    def __init__(self, quick: bool, folder: Path) -> None:
        super().__init__(quick, folder)
        self._servers = ReplicatedServer(folder / "servers")

    def server(self) -> ReplicatedServer:
        return self._servers

    def strike(self, stage: Stage, trial: int) -> None:
        if trial:
            self._servers.add_replica()
        start = time.monotonic()
        if self.behind:
            self._servers.signal_replica(signal.SIGSTOP)
            # What is in the sockets' buffers will have been sent, so they are filled first.
            for n in range(3):
                stage.load.submit(f"large-{trial}-{n}", inline=large_jpeg())
            time.sleep(self.behind)
        self._servers.kill_master()
        stage.allow_losses(since=start - self.window)
        if self.behind:
            self._servers.signal_replica(signal.SIGCONT)
        self._servers.wait_for_failover()


class FailoverBehind(Failover):
    name = "failover-behind"
    what = "the same while the replica is held up for 3 s; what was accepted since and in the 1 s before may be lost"
    behind = 3.0
