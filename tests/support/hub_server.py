"""As much of a model hub as fetching a model takes: one repository, served from a folder."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha1
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@contextmanager
def hub(repository: str, folder: Path) -> Iterator[tuple[str, list[str]]]:
    """Serve a folder as a repository whose branch `main` is at COMMIT; yields the URL and the paths asked for."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            path = unquote(urlsplit(self.path).path)
            asked.append(path)
            api, files = f"/api/models/{repository}", sorted(file.name for file in folder.iterdir())
            if path in (api, f"{api}/revision/main", f"{api}/revision/{COMMIT}"):
                siblings = [{"rfilename": name} for name in files]
                self._send(json.dumps({"id": repository, "sha": COMMIT, "siblings": siblings}).encode())
            elif path.startswith(f"{api}/tree/"):
                tree = [
                    {"type": "file", "path": n, "size": (folder / n).stat().st_size, "oid": self._etag(n)}
                    for n in files
                ]
                self._send(json.dumps(tree).encode())
            elif path.rpartition("/")[0] in (f"/{repository}/resolve/{r}" for r in ("main", COMMIT)):
                name = path.rpartition("/")[2]
                if name in files:
                    self._send((folder / name).read_bytes(), etag=self._etag(name))
                else:
                    self._send(b"", 404, code="EntryNotFound")
            else:
                self._send(b"", 404, code="RepoNotFound" if repository not in path else "RevisionNotFound")

        do_HEAD = do_GET  # noqa: N815 (the base class's naming)

        def _etag(self, name: str) -> str:
            return sha1((folder / name).read_bytes(), usedforsecurity=False).hexdigest()

        def _send(self, body: bytes, status: int = 200, etag: str = "", code: str = "") -> None:
            self.send_response(status)
            headers = {"X-Repo-Commit": COMMIT, "ETag": f'"{etag}"' if etag else "", "X-Error-Code": code}
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                if value:
                    self.send_header(name, value)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
