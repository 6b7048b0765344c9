"""Write the files of probes beside the policies that pin them."""

from collections.abc import Mapping
from pathlib import Path

from moderator.atomic import write_atomically
from moderator.errors import PolicyNotWritten


def write_probes(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write files below a folder of policies. Their names contain their digests, so that none replaces another.

    Raises:
        PolicyNotWritten: the folder is not writable.
    """
    for name, content in files.items():
        path = folder / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, content)
        except OSError as error:
            raise PolicyNotWritten(
                f"{path} cannot be written ({error.strerror}); check the permissions and the disk"
            ) from error
