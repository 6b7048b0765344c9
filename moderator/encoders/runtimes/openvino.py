"""OpenVINO: float32, bfloat16, or int8 by NNCF's quantisation after training."""

import os
import warnings
from contextlib import redirect_stdout
from pathlib import Path
from threading import local

import nncf
import numpy as np
import openvino
import torch
from torch import nn

from moderator.encoders.device import computes_bfloat16
from moderator.encoders.encoder import Pixels
from moderator.encoders.parallel import Forward

FILE = "model.xml"
HINTS = {"float32": "f32", "bfloat16": "bf16"}


def build(tower: nn.Module, precision: str, samples: Pixels, folder: Path) -> None:
    """Write `model.xml` and `model.bin`: uint8 [n, size, size, 3] to float32 [n, dimension].

    Args:
        tower: float32, on the CPU.
        precision: `float32`, `bfloat16` (the same file, computed otherwise) or `int8`.
        samples: photographs that int8 is calibrated with, uint8 [n, size, size, 3], n >= 2.
        folder: where to.
    """
    shape = openvino.PartialShape([-1, *samples.shape[1:]])
    # NNCF prints progress bars, and would do so into a file, too.
    with open(os.devnull, "w") as nowhere, warnings.catch_warnings(), redirect_stdout(nowhere):
        warnings.simplefilter("ignore")
        model = openvino.convert_model(tower, example_input=(torch.from_numpy(samples[:2]),), input=[shape])
        if precision == "int8":
            attention = any("attention" in type(module).__name__.lower() for module in tower.modules())
            model = nncf.quantize(
                model,
                nncf.Dataset([samples[n : n + 1] for n in range(len(samples))]),
                subset_size=len(samples),
                model_type=nncf.ModelType.TRANSFORMER if attention else None,
            )
    openvino.save_model(model, folder / FILE, compress_to_fp16=False)


def load(folder: Path, precision: str, threads: int, streams: int) -> Forward:
    """A forward over the kept model, to be called from `streams` threads at once, each with its share of `threads`."""
    # Of an int8 model: what is left in float.
    in_float = ("bfloat16" if computes_bfloat16() else "float32") if precision == "int8" else precision
    compiled = openvino.Core().compile_model(
        folder / FILE,
        "CPU",
        {
            "INFERENCE_PRECISION_HINT": HINTS[in_float],
            "NUM_STREAMS": streams,
            "INFERENCE_NUM_THREADS": threads,
            "ENABLE_CPU_PINNING": False,  # decoding runs on the same cores
        },
    )
    requests = local()

    def forward(pixels: Pixels) -> np.ndarray:
        request = getattr(requests, "request", None)
        if request is None:
            request = requests.request = compiled.create_infer_request()
        return np.array(request.infer([pixels])[0])

    return forward
