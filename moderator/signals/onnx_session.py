"""Run ONNX models for signals: one core per image, and memory that is released."""

from typing import Any


def onnx_session(model: bytes | str) -> Any:
    """Return a CPU session for a model (content or path) that many threads may run at once.

    Raises:
        ImportError: onnxruntime is not installed.
    """
    import onnxruntime

    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = settings.inter_op_num_threads = 1  # images are already read in parallel
    settings.log_severity_level = 4
    # An arena keeps its peak memory. And the runtime would keep a memory plan for each input shape that it ever saw:
    # 0.1 MB for a line of text, and lines have as many shapes as widths.
    settings.enable_cpu_mem_arena = False
    settings.enable_mem_pattern = False
    return onnxruntime.InferenceSession(model, settings, providers=["CPUExecutionProvider"])
