"""A PostgreSQL server of the tests' own: Debian's programs, a fresh folder, a Unix socket."""

import os
import pwd
import shutil
import signal
import subprocess
from pathlib import Path
from types import TracebackType

from moderator.queue.embedded_server import free_port
from tests.support.service import until
from tests.support.tools import missing

#: Where Debian keeps a version's programs, which are not on the path.
DEBIAN = Path("/usr/lib/postgresql")


def programs() -> Path:
    """The folder of `initdb` and `postgres`; without it, see `missing`."""
    on_path = shutil.which("initdb")
    if on_path is not None:
        return Path(on_path).resolve().parent
    found = sorted(DEBIAN.glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    if not found:
        missing("postgresql is not installed", "apt-get install postgresql")
    return found[-1].parent


class PostgresServer:
    """Runs within a `with` block; may be stopped, killed and started again in between.

    The server refuses to run as root, so root runs it as `nobody`.
    """

    def __init__(self, folder: Path) -> None:
        self._programs = programs()
        self._folder = folder / "postgres"
        self._folder.mkdir(parents=True)
        self._port = free_port()
        self._databases = 0
        self._prefix: list[str] = []
        if os.geteuid() == 0:
            user = pwd.getpwnam("nobody")
            os.chown(self._folder, user.pw_uid, user.pw_gid)
            for parent in [self._folder, *self._folder.parents][:-1]:
                if not parent.stat().st_mode & 0o001:
                    parent.chmod(parent.stat().st_mode | 0o011)
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

    def _url(self, database: str) -> str:
        return f"postgresql://moderator:secret-of-the-tests@127.0.0.1:{self._port}/{database}"

    def __enter__(self) -> "PostgresServer":
        password = self._folder.parent / f"{self._folder.name}.password"
        password.write_text("secret-of-the-tests")
        password.chmod(0o644)
        self._run(
            "initdb", "--username=moderator", f"--pwfile={password}", "--auth=scram-sha-256", "--no-sync"
        )
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

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

    def _run(self, program: str, *arguments: str) -> None:
        command = [*self._prefix, str(self._programs / program), "-D", str(self._folder / "data"), *arguments]
        subprocess.run(command, check=True, capture_output=True, cwd="/")
