"""Settings section for the model: which model embeds images and texts, where it runs, and what is cached."""

from pathlib import Path
from typing import Literal

import platformdirs
from pydantic import Field

from moderator.settings.section import Section


class ModelSettings(Section):
    """Which model embeds images and texts, where it runs, and what is cached."""

    encoder: str = Field(
        "embedded",
        description="`embedded`; `clip:`, `siglip:` or `auto:` with a hub id (`@revision` to pin) or a local folder; "
        "`openclip:ARCH/PRETRAINED`. See `moderator models list`.",
    )
    device: str = Field("auto", description="`auto` (CUDA where there is one), `cpu`, `cuda`, `cuda:1`, ...")
    dtype: Literal["auto", "float32", "bfloat16", "float16", "int8"] = Field(
        "auto",
        description="`auto`: half precision on CUDA, bfloat16 on CPUs that compute in it, else float32. "
        "`int8` (of the image tower, on a CPU) is the fastest and needs an extra: `openvino` or `onnx`.",
    )
    runtime: Literal["auto", "torch", "onnx", "openvino"] = Field(
        "auto",
        description="What computes the image tower. `auto`: torch, and for `int8` OpenVINO, else ONNX Runtime.",
    )
    signal_device: str = Field(
        "auto",
        description="Where the models of signals run (second opinions, detectors); `auto`: as `MODERATOR_DEVICE`.",
    )
    signal_dtype: Literal["auto", "float32", "bfloat16"] = Field(
        "auto",
        description="Their precision. `auto`: bfloat16 on CUDA and on CPUs that compute in it, else float32.",
    )
    signal_memory: int = Field(
        20_000_000_000,
        gt=0,
        description="Most bytes of weights of all models of signals together; a policy that needs more is refused.",
    )
    cache: Path = Field(
        default_factory=lambda: Path(platformdirs.user_cache_dir("moderator")),
        description="Folder for compiled policies and converted models.",
    )
    unload_texts: bool = Field(
        False,
        description="Give the memory of the text tower back once policies are compiled. A changed policy loads it "
        "again, which takes seconds.",
    )
    embedding_cache: int = Field(
        0,
        ge=0,
        description="The embeddings of that many images are kept in Redis, so that workers decode and embed the same "
        "file once; 0: of none. An entry takes about 2 kB per frame and 512 dimensions.",
    )
