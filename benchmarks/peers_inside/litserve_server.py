"""Inside LitServe's environment: the usual recipe for CLIP behind an HTTP server, scoring by the prompts of a policy.

    python litserve_server.py MODEL PROMPTS --port P [--batch 8] [--workers 1] [--dtype float32] [--compile]

MODEL is a folder as `save_pretrained` writes it, PROMPTS a JSON file `{"unsafe": [...], "safe": [...]}`. A request is
`{"path": PATH}`, as our events name their pictures; with `"embedding": true` the answer includes the embedding.
"""

import argparse
import json
import os
from pathlib import Path
from typing import Any

import litserve
import torch
from PIL import Image
from transformers import CLIPModel, CLIPProcessor


class Moderation(litserve.LitAPI):
    """Scoring of an image; the prompts are embedded once."""

    def __init__(self, options: argparse.Namespace) -> None:
        super().__init__(max_batch_size=options.batch, batch_timeout=options.wait)
        self.options = options

    def setup(self, device: str) -> None:
        # The processes share the cores.
        torch.set_num_threads(max(1, len(os.sched_getaffinity(0)) // self.options.workers))
        model = CLIPModel.from_pretrained(self.options.model, dtype=getattr(torch, self.options.dtype))
        self.model = model.to(device).eval()
        self.processor = CLIPProcessor.from_pretrained(self.options.model)
        prompts = json.loads(Path(self.options.prompts).read_text())
        self.unsafe = len(prompts["unsafe"])
        texts = [*prompts["unsafe"], *prompts["safe"]]
        tokens = self.processor(text=texts, padding=True, return_tensors="pt")
        with torch.inference_mode():
            features = self.model.get_text_features(**tokens).pooler_output.float()
            self.texts = features / features.norm(dim=-1, keepdim=True)
            self.scale = self.model.logit_scale.float().exp()
        if self.options.compile:
            self.model.vision_model = torch.compile(self.model.vision_model, dynamic=True)

    def decode_request(self, request: dict[str, Any]) -> tuple[Image.Image, bool]:
        return Image.open(request["path"]).convert("RGB"), request.get("embedding", False)

    def predict(self, inputs: Any) -> Any:
        batch = inputs if isinstance(inputs, list) else [inputs]
        pixels = self.processor(images=[image for image, _ in batch], return_tensors="pt")["pixel_values"]
        with torch.inference_mode():
            output = self.model.get_image_features(pixel_values=pixels.to(self.model.dtype))
        features = output.pooler_output.float()
        features = features / features.norm(dim=-1, keepdim=True)
        probabilities = (self.scale * features @ self.texts.T).softmax(dim=-1)
        rows = [
            (row, feature if wanted else None)
            for row, feature, (_, wanted) in zip(probabilities, features, batch, strict=True)
        ]
        return rows if isinstance(inputs, list) else rows[0]

    def unbatch(self, output: Any) -> Any:
        return list(output)

    def encode_response(self, output: Any) -> dict[str, Any]:
        row, feature = output
        unsafe, safe = float(row[: self.unsafe].mean()), float(row[self.unsafe :].mean())
        return {
            "unsafe_score": unsafe,
            "safe_score": safe,
            "is_safe": safe > unsafe and unsafe < 0.5,
            "embedding": None if feature is None else feature.tolist(),
        }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("prompts")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--wait", type=float, default=0.01, help="seconds that a batch waits for company")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--compile", action="store_true")
    options = parser.parse_args()
    server = litserve.LitServer(Moderation(options), accelerator="cpu", workers_per_device=options.workers)
    server.run(host="127.0.0.1", port=options.port, generate_client_file=False, log_level="warning")


if __name__ == "__main__":
    main()
