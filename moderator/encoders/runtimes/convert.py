"""An image tower in a runtime other than torch: converted once, kept on disk, spread over the cores."""

from importlib import import_module
from pathlib import Path

import numpy as np
import platformdirs
import torch
from PIL import Image
from torch import nn

from moderator.encoders.encoder import Encoder, Pixels
from moderator.encoders.parallel import Forward, SplitForward
from moderator.encoders.runtimes.artefact import keep
from moderator.encoders.runtimes.plan import ONNX, Plan

PHOTOGRAPHS = Path(__file__).parents[2] / "data" / "demo"


def convert(tower: nn.Module, plan: Plan, encoder: Encoder, cache: Path | None) -> Forward:
    """The image tower in the plan's runtime.

    Args:
        tower: uint8 [n, size, size, 3] to float32 [n, dimension], float32 weights on the CPU.
        plan: runtime and precision.
        encoder: its `preprocess` resizes the calibration photographs, its `identity` names what is kept.
        cache: `MODERATOR_CACHE`; None: the user's cache folder.
    """
    runtime = import_module(f"moderator.encoders.runtimes.{plan.runtime}")
    root = cache or Path(platformdirs.user_cache_dir("moderator"))
    # ONNX Runtime's int8 is quantised for the CPU, and machines may share a cache.
    for_cpu = (plan.runtime, plan.precision) == (ONNX, "int8") and not torch.cpu._is_vnni_supported()
    cpu = "-no-vnni" if for_cpu else ""
    folder = root / "runtimes" / f"{encoder.identity.key}-{plan.runtime}-{plan.precision}{cpu}"
    with torch.inference_mode():
        keep(folder, lambda new: runtime.build(tower.eval(), plan.precision, _photographs(encoder), new))
    cores = torch.get_num_threads()
    alone = runtime.load(folder, plan.precision, threads=cores, streams=1)
    if cores == 1:
        return alone  # type: ignore[no-any-return]
    return SplitForward(runtime.load(folder, plan.precision, threads=cores, streams=cores), cores, alone)


def _photographs(encoder: Encoder) -> Pixels:
    """The photographs that come with the package, at the model's input size."""
    paths = sorted(path for path in PHOTOGRAPHS.iterdir() if path.suffix != ".md")
    return np.stack([encoder.preprocess(Image.open(path).convert("RGB")) for path in paths])
