"""Which runtime computes the image tower, where and in which precision."""

from dataclasses import dataclass
from importlib.util import find_spec

import torch

from moderator.encoders.device import dtype_name, resolve_device
from moderator.errors import RuntimeMissing, SettingsError

TORCH, ONNX, OPENVINO = "torch", "onnx", "openvino"
#: What has to be importable; the extra of `pip install` has the runtime's name.
MODULES = {ONNX: ("onnx", "onnxruntime"), OPENVINO: ("openvino", "nncf")}
PRECISIONS = {
    TORCH: ("float32", "bfloat16", "float16"),
    ONNX: ("float32", "int8"),
    OPENVINO: ("float32", "bfloat16", "int8"),
}
#: What `auto` takes on a CPU, the first that is installed, by precision: the order of the measured speeds in
#: docs/decisions/0005. int8 changes embeddings, so it is never chosen, only asked for.
AUTO = {
    "int8": (OPENVINO, ONNX),
    "bfloat16": (TORCH,),
    "float32": (TORCH,),
    "float16": (TORCH,),
}


@dataclass(frozen=True)
class Plan:
    """The runtime and precision of the image tower, and the device and precision of what stays in torch."""

    runtime: str
    precision: str
    device: torch.device
    dtype: torch.dtype

    @property
    def suffix(self) -> str:
        """What it adds to a revision: embeddings of another runtime are not the same numbers."""
        return "" if self.runtime == TORCH else f"+{self.runtime}.{self.precision}"


def installed(runtime: str) -> bool:
    """Whether the packages of a runtime are there."""
    return all(find_spec(module) is not None for module in MODULES.get(runtime, ()))


def make_plan(runtime: str, device: str, dtype: str) -> Plan:
    """Turn the settings `runtime`, `device` and `dtype` into a plan.

    Raises:
        RuntimeMissing: the packages of the runtime are not installed.
        SettingsError: the settings contradict each other, or the device is not there.
    """
    if runtime in MODULES and device == "auto":
        device = "cpu"
    whole = "float32" if dtype == "int8" else dtype
    where, torch_dtype = resolve_device(device, whole)
    precision = "int8" if dtype == "int8" else dtype_name(torch_dtype)
    if where.type != "cpu" and (runtime in MODULES or precision == "int8"):
        raise SettingsError(
            f"MODERATOR_RUNTIME={runtime} with MODERATOR_DTYPE={dtype} runs on a CPU, not on {where}; "
            "set MODERATOR_DEVICE=cpu, or MODERATOR_RUNTIME=torch with another MODERATOR_DTYPE"
        )
    if runtime == "auto":
        candidates = AUTO[precision] if where.type == "cpu" else (TORCH,)
        runtime = next((name for name in candidates if installed(name)), candidates[0])
    elif dtype == "auto" and precision not in PRECISIONS[runtime]:
        precision = "float32"
    if precision not in PRECISIONS[runtime]:
        raise SettingsError(
            f"MODERATOR_DTYPE={precision} is none of what {runtime} computes in here: "
            f"{', '.join(PRECISIONS[runtime])}; choose one of them or another MODERATOR_RUNTIME"
        )
    if not installed(runtime):
        raise RuntimeMissing(
            f"MODERATOR_RUNTIME={runtime} with MODERATOR_DTYPE={precision} needs packages that are not "
            f"installed: {', '.join(MODULES[runtime])}; pip install 'moderator[{runtime}]'"
        )
    return Plan(runtime, precision, where, torch_dtype if runtime == TORCH else torch.float32)
