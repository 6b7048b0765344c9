"""Prerequisites of `benchmarks/peers.py`: the peers' environments, and weights in OpenCLIP's layout."""

import hashlib
import re
import subprocess
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

INSIDE = Path(__file__).parent / "peers_inside"
ENVIRONMENTS = Path(__file__).parent.parent / ".bench-envs"


class PeerSkipped(Exception):
    """A peer cannot be measured on this machine; the message gives the reason."""


def pins(peer: str) -> dict[str, str]:
    """Return the versions of all packages in a peer's environment, by normalised name."""
    found = re.findall(r"^([\w.-]+)==(\S+)$", constraints(peer).read_text(), re.MULTILINE)
    return {name.lower().replace("_", "-"): version for name, version in found}


def constraints(peer: str) -> Path:
    return INSIDE / f"constraints-{peer}.txt"


def environment(peer: str) -> Path:
    """Return the folder with the programs of a peer's environment, creating it if missing or out of date.

    Raises:
        PeerSkipped: the environment cannot be created.
    """
    folder = ENVIRONMENTS / peer
    stamp = folder / "installed"
    digest = hashlib.sha256(constraints(peer).read_bytes()).hexdigest()
    if stamp.is_file() and stamp.read_text() == digest:
        return folder / "bin"
    print(f"Making {peer}'s environment in {folder.relative_to(ENVIRONMENTS.parent)}/: a minute or more.")
    pip = [str(folder / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    pinned = str(constraints(peer))
    for command in (
        [sys.executable, "-m", "venv", "--clear", str(folder)],
        # With everything that torch needs on this platform; the rest is listed in full, and installs nothing else.
        [*pip, "--constraint", pinned, f"torch=={pins(peer)['torch']}"],
        [*pip, "--no-deps", "--requirement", pinned],
    ):
        result = subprocess.run(command, capture_output=True, text=True)
        if result.returncode:
            lines = (result.stderr or result.stdout).strip().splitlines()
            raise PeerSkipped(f"its environment cannot be made: {lines[-1] if lines else command}")
    stamp.write_text(digest)
    return folder / "bin"


def to_openclip(model: Path, target: Path) -> Path:
    """Write the weights of a `CLIPModel` folder under OpenCLIP's names: the same numbers in another layout."""
    source = load_file(model / "model.safetensors")
    weights = {
        "logit_scale": source["logit_scale"],
        "positional_embedding": source["text_model.embeddings.position_embedding.weight"],
        "token_embedding.weight": source["text_model.embeddings.token_embedding.weight"],
        "text_projection": source["text_projection.weight"].T,
        "visual.proj": source["visual_projection.weight"].T,
        "visual.class_embedding": source["vision_model.embeddings.class_embedding"],
        "visual.positional_embedding": source["vision_model.embeddings.position_embedding.weight"],
        "visual.conv1.weight": source["vision_model.embeddings.patch_embedding.weight"],
    }
    parts = {"layer_norm1": "ln_1", "layer_norm2": "ln_2", "mlp.fc1": "mlp.c_fc", "mlp.fc2": "mlp.c_proj"}
    norms = {"pre_layrnorm": "ln_pre", "post_layernorm": "ln_post", "final_layer_norm": "ln_final"}
    for name, tensor in source.items():
        tower = "visual." if name.startswith("vision_model") else ""
        if match := re.fullmatch(r"\w+\.encoder\.layers\.(\d+)\.(.+)\.(weight|bias)", name):
            number, part, kind = match.groups()
            block = f"{tower}transformer.resblocks.{number}"
            if part in parts:
                weights[f"{block}.{parts[part]}.{kind}"] = tensor
            elif part == "self_attn.out_proj":
                weights[f"{block}.attn.out_proj.{kind}"] = tensor
            elif part == "self_attn.q_proj":
                three = [source[name.replace("q_proj", other)] for other in ("q_proj", "k_proj", "v_proj")]
                weights[f"{block}.attn.in_proj_{kind}"] = torch.cat(three)
        elif (match := re.fullmatch(r"\w+\.(\w+)\.(weight|bias)", name)) and match[1] in norms:
            weights[f"{tower}{norms[match[1]]}.{match[2]}"] = tensor
    save_file({name: tensor.contiguous() for name, tensor in weights.items()}, target)
    return target
