"""A failover to a replica under Sentinel. Replication is asynchronous: what the replica has not got is lost."""

import signal
import time
from pathlib import Path
from typing import ClassVar

from tests.chaos.fault import Fault
from tests.chaos.stage import Stage
from tests.integration.sentinel import ReplicatedServer


class Failover(Fault):
    name = "failover"
    what = "the primary is killed, and Sentinel promotes its replica; what was accepted in the last 1 s may be lost"
    trials = (2, 1)
    #: Seconds that the replica may be behind, and that it is made to be behind.
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
        if self.behind:
            self._servers.signal_replica(signal.SIGSTOP)
            time.sleep(self.behind)
        stage.allow_losses(self.behind + self.window)
        self._servers.kill_master()
        if self.behind:
            self._servers.signal_replica(signal.SIGCONT)
        self._servers.wait_for_failover()


class FailoverBehind(Failover):
    """What is in the sockets' buffers when the replica goes on was sent: so little that it is behind is little lost."""

    name = "failover-behind"
    what = "the same while the replica is 3 s behind; what was accepted in the last 4 s may be lost"
    behind = 3.0
