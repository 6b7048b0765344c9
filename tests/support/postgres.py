"""A PostgreSQL server of the tests' own: Debian's programs, a fresh folder, a port of its own."""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType

from moderator.queue.embedded_server import free_port
from tests.support.service import until
from tests.support.tools import missing

#: Where Debian keeps a version's programs, which are not on the path.
DEBIAN = Path("/usr/lib/postgresql")
PASSWORD = "secret-of-the-tests"


def find_programs() -> Path | None:
    """The folder of `initdb` and `postgres`, if they are installed."""
    on_path = shutil.which("initdb")
    if on_path is not None:
        return Path(on_path).resolve().parent
    found = sorted(DEBIAN.glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    return found[-1].parent if found else None


def programs() -> Path:
    """The same; without it, see `missing`."""
    return find_programs() or missing("postgresql is not installed", "apt-get install postgresql")


class PostgresServer:
    """Runs within a `with` block; may be stopped and started again in between.

    The server refuses to run as root, so root runs it as `nobody`, in a folder that `nobody` can reach: pytest closes
    its own to others.
    """

    def __init__(self) -> None:
        self._programs = programs()
        self._folder = Path(tempfile.mkdtemp(prefix="moderator-postgres-"))
        self._port = free_port()
        self._databases = 0
        self._prefix: list[str] = []
        (self._folder / "password").write_text(PASSWORD)
        if os.geteuid() == 0:
            user = pwd.getpwnam("nobody")
            for path in (self._folder, self._folder / "password"):
                os.chown(path, user.pw_uid, user.pw_gid)
            self._prefix = ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Of a database that is always there."""
        return self._url("postgres")

    def new_database(self, template: str = "template1") -> str:
        """Make a database, empty or as another one, and return its URL."""
        self._databases += 1
        name = f"test{self._databases}"
        command = [str(self._programs / "createdb"), "--maintenance-db", self.url, "-T", template, name]
        subprocess.run(command, check=True, capture_output=True)
        return self._url(name)

    def __enter__(self) -> "PostgresServer":
        command = [
            *self._prefix,
            str(self._programs / "initdb"),
            "-D",
            str(self._folder / "data"),
            "--no-sync",
        ]
        command += ["--username=moderator", f"--pwfile={self._folder / 'password'}", "--auth=scram-sha-256"]
        subprocess.run(command, check=True, capture_output=True, cwd="/")
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        shutil.rmtree(self._folder)

    def start(self) -> None:
        command = [*self._prefix, str(self._programs / "postgres"), "-D", str(self._folder / "data")]
        command += ["-p", str(self._port), "-c", "listen_addresses=127.0.0.1", "-k", str(self._folder)]
        command += ["-c", "fsync=off"]  # processes are killed here, no machine is
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, cwd="/")
        ready = [str(self._programs / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(self._port)]
        until(lambda: subprocess.run(ready, check=False).returncode == 0, 30.0, "PostgreSQL answers")

    def stop(self) -> None:
        """At once, whoever is connected."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGQUIT)
            self._process.wait(30)

    def _url(self, database: str) -> str:
        return f"postgresql://moderator:{PASSWORD}@127.0.0.1:{self._port}/{database}"
