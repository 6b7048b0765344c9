"""Run ONNX models for signals: one core for each image, and memory that is given back."""

from typing import Any


def onnx_session(model: bytes | str) -> Any:
    """Return a session on the CPU for a model (content or path) that many threads may run at once.

    Raises:
        ImportError: onnxruntime is not installed.
    """
    import onnxruntime

    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = settings.inter_op_num_threads = 1  # images are read side by side already
    settings.log_severity_level = 4
    # An arena keeps the most that it ever needed. And for each shape that was ever put in, the runtime would keep a
    # plan of where its tensors lie: 0.1 MB for a line of text, of which there are as many shapes as there are widths.
    settings.enable_cpu_mem_arena = False
    settings.enable_mem_pattern = False
    return onnxruntime.InferenceSession(model, settings, providers=["CPUExecutionProvider"])
