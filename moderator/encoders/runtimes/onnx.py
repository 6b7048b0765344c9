"""ONNX Runtime: float32, or int8 by dynamic quantisation."""

import logging
import warnings
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from onnxruntime.quantization import QuantType, quantize_dynamic
from torch import nn

from moderator.encoders.encoder import Pixels
from moderator.encoders.parallel import Forward

FILE = "model.onnx"
OPSET = 17


def build(tower: nn.Module, precision: str, samples: Pixels, folder: Path) -> None:
    """Write `model.onnx`: uint8 `pixels` [n, size, size, 3] to float32 `embeddings` [n, dimension].

    Args:
        tower: float32, on the CPU.
        precision: `float32` or `int8`.
        samples: photographs, uint8 [n, size, size, 3], n >= 2.
        folder: where to.
    """
    whole = folder / "float32.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore"
        )  # of the tracer: shapes other than the batch are constants, as they should
        torch.onnx.export(
            tower,
            (torch.from_numpy(samples[:2]),),
            str(whole),
            input_names=["pixels"],
            output_names=["embeddings"],
            dynamic_axes={"pixels": {0: "n"}, "embeddings": {0: "n"}},
            opset_version=OPSET,
            dynamo=False,
        )
    if precision == "float32":
        whole.rename(folder / FILE)
        return
    # It warns through the root logger, which would then get a handler and show all of our own warnings another way.
    nowhere = logging.NullHandler()
    logging.getLogger().addHandler(nowhere)
    try:
        # Convolutions stay as they are: ONNX Runtime has no fast dynamic int8 convolution on CPUs.
        quantize_dynamic(
            whole,
            folder / FILE,
            op_types_to_quantize=["MatMul", "Gemm"],
            per_channel=True,
            weight_type=QuantType.QInt8,
            # Without VNNI instructions, products are added up in 16 bits, and those of 8-bit weights overflow.
            reduce_range=not torch.cpu._is_vnni_supported(),
        )
    finally:
        logging.getLogger().removeHandler(nowhere)
    whole.unlink()


def load(folder: Path, precision: str, threads: int, streams: int) -> Forward:
    """A forward over the kept model, to be called from `streams` threads at once, each with its share of `threads`."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = max(1, threads // streams)
    # Threads that spin for work take the cores from decoding.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(folder / FILE, options, providers=["CPUExecutionProvider"])

    def forward(pixels: Pixels) -> np.ndarray:
        return np.asarray(session.run(None, {"pixels": pixels})[0])

    def one_by_one(pixels: Pixels) -> np.ndarray:
        return np.concatenate([forward(pixels[n : n + 1]) for n in range(len(pixels))])

    # Dynamic quantisation takes its scale from the whole batch: in a batch, an image's embedding would depend on
    # its neighbours, and a verdict could not be repeated.
    return one_by_one if precision == "int8" else forward
