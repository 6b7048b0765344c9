"""Where a model runs and in which precision."""

import torch

from moderator.errors import SettingsError


def computes_bfloat16() -> bool:
    """Return whether this CPU has instructions for bfloat16 (AVX-512 BF16, AMX): emulated, it is slow."""
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


def resolve_device(device: str, dtype: str) -> tuple[torch.device, torch.dtype]:
    """Turn the settings `device` and `dtype` into torch's.

    `auto` chooses CUDA in half precision if there is a device; else the CPU, in bfloat16 if it computes in it, and in
    float32 if not.

    Raises:
        SettingsError: the device is unknown or missing.
    """
    cuda = torch.cuda.is_available()
    if device == "auto":
        device = "cuda" if cuda else "cpu"
    try:
        chosen = torch.device(device)
    except RuntimeError as error:
        raise SettingsError(
            f"MODERATOR_DEVICE={device!r} is no device; use auto, cpu, cuda or cuda:N"
        ) from error
    if chosen.type == "cuda" and not cuda:
        raise SettingsError(
            f"MODERATOR_DEVICE={device!r}, but torch {torch.__version__} finds no CUDA device; "
            "use auto or cpu, or install a CUDA build of torch and the driver"
        )
    try:
        torch.empty(0, device=chosen)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise SettingsError(
            f"MODERATOR_DEVICE={device!r} is not there: {str(error).splitlines()[0]}; use auto or cpu"
        ) from error
    if dtype != "auto":
        precision = getattr(torch, dtype)
        assert isinstance(precision, torch.dtype)
        return chosen, precision
    if chosen.type == "cuda":
        return chosen, torch.float16
    return chosen, torch.bfloat16 if computes_bfloat16() else torch.float32


def dtype_name(dtype: torch.dtype) -> str:
    """Return the name used in settings and verdicts, e.g. "bfloat16"."""
    return str(dtype).removeprefix("torch.")
