"""Run as a process that a test kills: embeds a folder in small parts, a moment per batch."""

import sys
import time
from pathlib import Path

from moderator.embeddings.bulk import embed_files
from moderator.embeddings.embedder import Embedder
from moderator.encoders.encoder import Embeddings, Pixels
from moderator.image_paths import list_images
from moderator.settings import Settings
from tests.support.colour_encoder import ColourEncoder


class SlowEncoder(ColourEncoder):
    def embed_images(self, pixels: Pixels) -> Embeddings:
        time.sleep(0.05)
        return super().embed_images(pixels)


if __name__ == "__main__":
    source, output = map(Path, sys.argv[1:])
    embedder = Embedder(Settings(max_batch=4), encoder=SlowEncoder())
    embed_files(embedder, list_images(source), output, part_rows=8)
