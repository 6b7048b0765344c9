"""Parse the files of a policy folder, each only when it changes."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from moderator.errors import PolicyError, PolicyUnreadable
from moderator.policies.folder import Listing
from moderator.policies.loader import POINTER_FILE, check_signal_files, digest_if_there, read_policy
from moderator.policies.releases import LOCK_FILE
from moderator.policies.schema import Policy
from moderator.policies.snapshot import attempt

#: Modification time, change time (ns), size and inode: an edit changes them. Empty if the file is listed but
#: `stat` fails.
_Stamp = tuple[int, ...]
_Stamps = dict[Path, _Stamp]


class ParsedFiles:
    """The parsed files of a policy folder, and the digests of the files that signals read. Not thread-safe.

    Args:
        folder: the policy folder.
        signal_folders: further folders with signal files.
    """

    def __init__(self, folder: Path, signal_folders: tuple[Path, ...]) -> None:
        self._folder = folder
        self._signal_folders = signal_folders
        self._stamps: _Stamps = {}
        self._parsed: dict[Path, Policy | PolicyError] = {}
        self._digests: dict[Path, tuple[_Stamp, str | None]] = {}

    def update(self, listing: Listing) -> bool:
        """Parse changed files; return whether any file changed, including those of signals, pointers and releases."""
        before, self._stamps = self._stamps, self._read_changed(listing)
        return self._stamps != before

    def forget_stamps(self) -> None:
        """Treat every file as changed at the next update."""
        self._stamps = {}

    def results(self) -> dict[Path, Policy | PolicyError]:
        """Return each policy, or the error in its file or in the files of its signals."""
        return {path: self._with_signal_files(path, result) for path, result in self._parsed.items()}

    def _read_changed(self, listing: Listing) -> _Stamps:
        """Parse the files that changed, and return the stamps of all files."""
        # Files in a folder that cannot be listed now presumably still exist.
        hidden = [path for path in self._parsed if path.parent in listing.unreadable]
        files = [*listing.files, *hidden]
        stamps = dict(self._stamps_of(files, gone=()))
        for path in [p for p in self._parsed if p not in stamps]:
            del self._parsed[path]
        for path, stamp in stamps.items():
            known = self._parsed.get(path)
            if known is None or isinstance(known, PolicyUnreadable) or stamp != self._stamps.get(path):
                self._parsed[path] = attempt(read_policy, path)
        of_signals = {
            folder / signal.file
            for policy in self._parsed.values()
            if isinstance(policy, Policy)
            for signal in policy.signals
            if signal.file is not None
            for folder in (self._folder, *self._signal_folders)
        }
        return {
            **stamps,
            **dict(self._stamps_of([self._folder / POINTER_FILE, self._folder / LOCK_FILE])),
            **dict(self._stamps_of(of_signals)),
        }

    def _stamps_of(self, paths: Iterable[Path], gone: _Stamp | None = None) -> Iterator[tuple[Path, _Stamp]]:
        for path in paths:
            try:
                s = path.stat()
                yield path, (s.st_mtime_ns, s.st_ctime_ns, s.st_size, s.st_ino)
            except (FileNotFoundError, NotADirectoryError):
                if gone is not None:
                    yield path, gone
            except OSError:
                yield path, ()

    def _with_signal_files(self, path: Path, result: Policy | PolicyError) -> Policy | PolicyError:
        """Return the policy, or the error in the files of its signals."""
        if isinstance(result, Policy) and result.signals:
            try:
                check_signal_files(result, path, self._digest)
            except PolicyError as error:
                return error
        return result

    def _digest(self, path: Path) -> str | None:
        """Return the digest of a signal's file, recomputed if the file changed or could not be read."""
        stamp = self._stamps.get(path)
        if stamp is None:
            return None
        known_stamp, digest = self._digests.get(path, ((), None))
        if digest is None or stamp != known_stamp:
            digest = digest_if_there(path)
            self._digests[path] = stamp, digest
        return digest
