"""Azurite, the emulator of Azure Blob Storage, as a process of Node.js; and signatures as Azure documents them."""

import hashlib
import hmac
import re
import shutil
import subprocess
import urllib.request
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode

from tests.support.npm import install_packages
from tests.support.service import environment

PROGRAM = Path(__file__).parents[1] / "integration" / "node" / "azurite"
ACCOUNT, KEY = "shop", hashlib.sha256(b"the account's key").digest()
VERSION = "2021-08-06"
LATER, EARLIER = "2100-01-01T00:00Z", "2020-01-01T00:00Z"


@dataclass(frozen=True)
class Azurite:
    """A server with one account."""

    url: str
    """Of the account."""

    def container_url(self, container: str, sas: str = "") -> str:
        return f"{self.url}/{container}" + (f"?{sas}" if sas else "")

    def make_container(self, container: str) -> None:
        self._put(f"{container}?restype=container&{account_sas('rwc')}", b"")

    def put(self, container: str, blob: str, body: bytes) -> str:
        """Write a blob, and return its URL."""
        self._put(f"{container}/{blob}?{account_sas('rwc')}", body, {"x-ms-blob-type": "BlockBlob"})
        return f"{self.url}/{container}/{blob}"

    def _put(self, rest: str, body: bytes, headers: dict[str, str] | None = None) -> None:
        request = urllib.request.Request(f"{self.url}/{rest}", body, headers or {}, method="PUT")
        with urllib.request.urlopen(request, timeout=10) as answer:
            assert answer.status == 201


def container_sas(container: str, rights: str = "r", ends: str = LATER) -> str:
    """A signature for a container: Azure Storage, "Create a service SAS", version 2020-12-06 and later."""
    resource = f"/blob/{ACCOUNT}/{container}"
    # Start, end, resource, stored policy, address, protocol, version, kind, snapshot, encryption scope, five headers.
    signed = [rights, "", ends, resource, "", "", "", VERSION, "c", "", "", "", "", "", "", ""]
    return urlencode({"sv": VERSION, "sr": "c", "sp": rights, "se": ends, "sig": _sign(signed)})


def account_sas(rights: str) -> str:
    """A signature for all containers: Azure Storage, "Create an account SAS", version 2020-12-06 and later."""
    signed = [ACCOUNT, rights, "b", "sco", "", LATER, "", "", VERSION, "", ""]
    return urlencode(
        {"sv": VERSION, "ss": "b", "srt": "sco", "sp": rights, "se": LATER, "sig": _sign(signed)}
    )


def _sign(parts: list[str]) -> str:
    return b64encode(hmac.new(KEY, "\n".join(parts).encode(), hashlib.sha256).digest()).decode()


@contextmanager
def azurite_server(folder: Path) -> Iterator[Azurite]:
    """Install and run Azurite on a free port; its blobs are in memory."""
    shutil.copytree(PROGRAM, folder)
    install_packages(folder)
    program = folder / "node_modules" / "azurite" / "dist" / "src" / "blob" / "main.js"
    options = ["--blobPort", "0", "--inMemoryPersistence", "--silent", "--disableTelemetry"]
    log = folder / "azurite.log"
    with (
        log.open("wb") as errors,
        subprocess.Popen(
            ["node", program, *options],
            cwd=folder,
            env={**environment(), "AZURITE_ACCOUNTS": f"{ACCOUNT}:{b64encode(KEY).decode()}"},
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        ) as process,
    ):
        try:
            assert process.stdout is not None
            # It says where it listens once it does; the output ends if it cannot.
            found = next(filter(None, map(re.compile(r"listens on (\S+)").search, process.stdout)), None)
            assert found is not None, log.read_text()
            yield Azurite(f"{found[1]}/{ACCOUNT}")
        finally:
            process.kill()
