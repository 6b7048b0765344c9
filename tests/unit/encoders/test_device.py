import pytest
import torch

from moderator.encoders.device import dtype_name, resolve_device
from moderator.errors import SettingsError

HAS_CUDA = torch.cuda.is_available()


@pytest.mark.skipif(HAS_CUDA, reason="there is a CUDA device, which auto prefers")
@pytest.mark.parametrize(
    ("bf16", "amx", "expected"),
    [(True, False, torch.bfloat16), (False, True, torch.bfloat16), (False, False, torch.float32)],
)
def test_auto_takes_bfloat16_where_the_cpu_computes_in_it(
    monkeypatch: pytest.MonkeyPatch, bf16: bool, amx: bool, expected: torch.dtype
) -> None:
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: bf16)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
    assert resolve_device("auto", "auto") == (torch.device("cpu"), expected)


@pytest.mark.parametrize("name", ["float32", "bfloat16", "float16"])
def test_a_named_precision_is_taken(name: str) -> None:
    device, dtype = resolve_device("cpu", name)
    assert (device, dtype_name(dtype)) == (torch.device("cpu"), name)


@pytest.mark.parametrize("device", ["gpu", "", "cuda:x", "cpu cpu"])
def test_what_is_no_device(device: str) -> None:
    with pytest.raises(SettingsError, match="MODERATOR_DEVICE"):
        resolve_device(device, "auto")


@pytest.mark.skipif(HAS_CUDA, reason="there is a CUDA device")
@pytest.mark.parametrize("device", ["cuda", "cuda:1"])
def test_no_cuda_device(device: str) -> None:
    with pytest.raises(SettingsError, match=r"finds no CUDA device; use auto or cpu"):
        resolve_device(device, "auto")


def test_a_device_that_is_not_there() -> None:
    missing = "cuda:99" if HAS_CUDA else "xpu"
    with pytest.raises(SettingsError, match="is not there"):
        resolve_device(missing, "float32")


@pytest.mark.cuda
@pytest.mark.skipif(not HAS_CUDA, reason="no CUDA device")
def test_auto_takes_cuda_in_half_precision() -> None:
    assert resolve_device("auto", "auto") == (torch.device("cuda"), torch.float16)
