"""Inside openmoderate's environment: reads one JSON request per line, answers with one JSON line each.

    python openmoderate_check.py WEIGHTS CONFIG

WEIGHTS is a checkpoint in OpenCLIP's layout for `ViT-B-32-quickgelu`, CONFIG a JSON file with the configuration of
`openmoderate.Moderator`. Requests: `{"embed": PATH}` and `{"check": [PATH, ...], "chunk": N}`.
"""

import json
import sys
import time

import torch

# torchvision's wheel is built against CUDA. With a torch without CUDA, its compiled operators do not load, and its
# import fails at the two operators that it extends. Resize and crop, all that CLIP needs of it, are plain torch.
try:
    import torchvision  # noqa: F401
except RuntimeError:
    for name in ("nms", "qnms"):
        torch.library.define(
            f"torchvision::{name}", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
        )

from openmoderate import Moderator
from openmoderate.io import load_image


def main() -> None:
    weights, config = sys.argv[1:]
    with open(config, encoding="utf-8") as file:
        settings = json.load(file)
    moderator = Moderator({**settings, "model": "ViT-B-32-quickgelu", "pretrained": weights}, device="cpu")
    for line in sys.stdin:
        request = json.loads(line)
        if "embed" in request:
            answer = {"embedding": moderator.engine.encode_images([load_image(request["embed"])])[0].tolist()}
        else:
            files, chunk = request["check"], request["chunk"]
            start = time.perf_counter()
            results = []
            for at in range(0, len(files), chunk):
                results += moderator.analyze_batch(files[at : at + chunk])
            answer = {"seconds": time.perf_counter() - start, "results": len(results)}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
