"""What the comparison with others prints, and which of a peer's settings it takes. No peer is installed."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import CLIPConfig

from benchmarks import peers, peers_setup, peers_trial
from benchmarks.peers import pictures, take_turns
from benchmarks.peers_report import Way, result, table
from benchmarks.peers_servers import Load
from benchmarks.peers_setup import INSIDE, PeerSkipped, pins, to_openclip
from benchmarks.peers_trial import best_server
from benchmarks.setup import make_clip

OURS = np.array([1.0, 0.0], dtype=np.float32)


def way(*speeds: float, cosine: float = 1.0) -> Way:
    return Way(lambda: (0.0, 0.0), "a setting", cosine, list(speeds), [0.01] * len(speeds))


WAYS = {
    "check": way(60, 50, 40),
    "service": way(50, 48, 10),
    "openmoderate": way(10, 10, 20),
    "infinity": way(100, 24, 20, cosine=0.99956),
}
SKIPPED = {"litserve": "its environment cannot be made"}


def test_ratios_are_medians_over_the_rounds_and_null_where_a_peer_was_skipped() -> None:
    found = json.loads(json.dumps(result(WAYS, SKIPPED)))
    assert (
        found["check_over_openmoderate"] == 5.0
    )  # of 6, 5, 2; the ratio of the medians happens to be the same
    assert found["service_over_infinity"] == 0.5  # of 0.5, 2, 0.5; the ratio of the medians would be 2
    assert found["service_over_litserve"] is None
    assert found["skipped"] == SKIPPED
    assert found["images_per_s"] == {"check": 50, "service": 48, "openmoderate": 10, "infinity": 24}
    assert found["cosine"]["infinity"] == 0.99956


def test_the_table_has_a_line_for_each_way_and_says_who_was_skipped() -> None:
    header, *lines = table(WAYS, SKIPPED).splitlines()
    assert header.split()[:3] == ["images/s", "min", "max"]
    assert [line.split()[0] for line in lines] == [*WAYS, *SKIPPED]
    assert lines[3].split()[:6] == ["infinity", "24.0", "20.0", "100.0", "1.0%", "0.99956"]
    assert lines[4].endswith("skipped: its environment cannot be made")


class FakeServer:
    """Its options are how alike its embeddings are, and its speed."""

    def __init__(self, api: Any, options: list[str], log: Path) -> None:
        if options == ["broken"]:
            raise PeerSkipped("it does not start")
        self.cosine, self.speed = map(float, options)
        self.process = SimpleNamespace(stop=lambda: None)

    def embedding(self, file: Path) -> np.ndarray:
        return np.array([self.cosine, np.sqrt(1 - self.cosine**2)])

    def run(self, files: list[Path], load: Load) -> tuple[float, float]:
        return self.speed * load.clients, 0.0


def test_the_fastest_setting_that_computes_the_same_is_taken(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(peers_trial, "Server", FakeServer)
    loads = [Load(1, 1), Load(1, 4), Load(8, 2)]
    settings = [["broken"], ["0.9", "99"], ["1", "5"], ["0.9995", "7"]]
    found = best_server(object(), settings, loads, [tmp_path], OURS, tmp_path)  # type: ignore[arg-type]
    assert found == (["0.9995", "7"], Load(1, 4))
    with pytest.raises(PeerSkipped, match=r"cosine 0\.90000"):
        best_server(object(), settings[:2], loads, [tmp_path], OURS, tmp_path)  # type: ignore[arg-type]


def test_ways_take_turns_and_one_that_gives_up_is_skipped() -> None:
    order = []

    def runner(name: str, ends: int) -> Way:
        def run() -> tuple[float, float]:
            order.append(name)
            if order.count(name) > ends:
                raise PeerSkipped("it ended")
            return float(order.count(name)), 0.0

        return Way(run, "")

    ways, skipped = {"check": runner("check", 9), "litserve": runner("litserve", 2)}, {}
    take_turns(ways, skipped, 2)
    assert order == ["check", "litserve"] * 3
    assert skipped == {"litserve": "it ended"}
    assert {name: way.speeds for name, way in ways.items()} == {"check": [2.0, 3.0]}  # without the first


def test_a_folder_of_pictures_is_repeated(tmp_path: Path) -> None:
    data, target = tmp_path / "data", tmp_path / "target"
    data.mkdir()
    target.mkdir()
    for name in ("a.jpg", "b.png"):
        (data / name).write_text(name)
    files = pictures(target, data, 5)
    assert [file.read_text() for file in files] == ["a.jpg", "b.png", "a.jpg", "b.png", "a.jpg"]
    assert {file.parent for file in files} == {target}


@pytest.mark.parametrize("peer", list(peers.PACKAGES))
def test_every_peer_is_pinned_with_the_torch_of_the_project(peer: str) -> None:
    project = (INSIDE.parent.parent / "constraints.txt").read_text()
    assert f"\ntorch=={pins(peer)['torch']}\n" in project
    assert peers.PACKAGES[peer] in pins(peer)


def test_an_environment_that_cannot_be_made_is_a_reason_to_skip(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    failed = SimpleNamespace(returncode=1, stdout="", stderr="noise\nno such version\n")
    monkeypatch.setattr(peers_setup, "ENVIRONMENTS", tmp_path / "envs")
    monkeypatch.setattr(peers_setup.subprocess, "run", lambda *_, **__: failed)
    with pytest.raises(PeerSkipped, match="no such version"):
        peers_setup.environment("litserve")


def test_openclip_gets_the_same_numbers_under_its_names(tmp_path: Path) -> None:
    tower = {"num_hidden_layers": 2, "hidden_size": 16, "intermediate_size": 32, "num_attention_heads": 2}
    config = CLIPConfig(
        text_config=dict(tower), vision_config={**tower, "image_size": 32, "patch_size": 16}, projection_dim=8
    )
    source = load_file(make_clip(tmp_path / "clip", config) / "model.safetensors")
    found = load_file(to_openclip(tmp_path / "clip", tmp_path / "openclip.safetensors"))
    assert sum(tensor.numel() for tensor in found.values()) == sum(t.numel() for t in source.values())
    attention = [
        source[f"vision_model.encoder.layers.1.self_attn.{name}_proj.weight"] for name in ("q", "k", "v")
    ]
    assert torch.equal(
        found["visual.transformer.resblocks.1.attn.in_proj_weight"].view(3, 16, 16), torch.stack(attention)
    )
    assert torch.equal(found["visual.proj"], source["visual_projection.weight"].T)
    assert torch.equal(found["ln_final.bias"], source["text_model.final_layer_norm.bias"])
