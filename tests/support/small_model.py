"""A small model for workers whose answers matter less than that there are many."""

import fcntl
from pathlib import Path

#: Numbers of its embeddings.
SMALL_DIMENSION = 32


def small_model(cache: Path) -> dict[str, str]:
    """Return the settings of a worker with a small CLIP model, which whoever asks first saves in the folder."""
    folder = cache / "small-clip"
    with (cache / "small-clip.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            from tests.support.clip_models import save_small_clip  # takes seconds to import

            save_small_clip(cache / "small-clip.new").rename(folder)
    return {"encoder": f"clip:{folder}", "dtype": "float32"}
