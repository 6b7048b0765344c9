"""A small model for workers whose answers matter less than that there are many."""

from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory


def small_model(cache: Path) -> dict[str, str]:
    """Return the settings of a worker with a small CLIP model, which whoever asks first saves in the folder."""
    folder = cache / "small-clip"
    if not folder.exists():
        from tests.support.clip_models import save_small_clip  # loads torch

        with TemporaryDirectory(dir=cache) as name, suppress(OSError):  # another process may be quicker
            save_small_clip(Path(name) / "model").rename(folder)
    return {"encoder": f"clip:{folder}", "dtype": "float32"}
