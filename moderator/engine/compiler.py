"""Compile policies: embed each prompt once, and cache it in memory and on disk.

A compiled policy depends only on the encoder's identity and precision and on the policy's digest, so it is
cached under these and never goes stale.
"""

import json
import logging
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from moderator.atomic import write_atomically
from moderator.errors import EmbeddingInvalid
from moderator.policies.fields import fill
from moderator.policies.requirements import require_encoder
from moderator.policies.schema import Policy
from moderator.scoring.layout import lay_out
from moderator.scoring.rules import Floats
from moderator.scoring.thresholds import CompiledPolicy

if TYPE_CHECKING:  # compiled policies are read without the image libraries
    from moderator.encoders.encoder import Encoder

log = logging.getLogger(__name__)


class Compiler:
    """Compiler of policies to matrices for one encoder.

    Args:
        encoder: embeds the prompts with its text tower.
        cache: folder for compiled policies; created when needed. A broken file in it is replaced.
    """

    def __init__(self, encoder: "Encoder", cache: Path) -> None:
        self._encoder = encoder
        self._folder = cache / f"{encoder.identity.key}-{encoder.dtype}"
        self._compiled: dict[str, CompiledPolicy] = {}
        # Versions of a policy share most prompts: (templates, prompt) -> vector, across all policies.
        self._prompts: dict[tuple[tuple[str, ...], str], Floats] = {}
        self._lock = Lock()

    def compile(self, policy: Policy) -> CompiledPolicy:
        """Return the policy, ready for scoring. Cheap for a policy that was compiled before. Thread-safe.

        Raises:
            EncoderForeign: the policy's thresholds were measured on other encoders.
            EmbeddingInvalid: the text tower returned NaN.
            WeightsInvalid: the text tower was unloaded, and cannot be loaded again.
        """
        compiled = self._compiled.get(policy.digest)
        if compiled is not None:
            return compiled
        with self._lock:
            compiled = self._compiled.get(policy.digest)
            if compiled is None:
                compiled = self._load_or_embed(policy)
                self._compiled[policy.digest] = compiled
        return compiled

    def unload_texts(self) -> None:
        """Release the memory of the encoder's text tower; a policy that is not cached loads it again."""
        with self._lock:
            self._encoder.unload_texts()

    def _load_or_embed(self, policy: Policy) -> CompiledPolicy:
        layout = lay_out(policy, require_encoder(policy, self._encoder.identity))
        if not layout.prompts:  # only signals
            nothing = np.zeros((0, self._encoder.dimension), dtype=np.float32)
            return CompiledPolicy(policy, layout, nothing, self._encoder.scale, self._encoder.bias)
        path = self._folder / f"{policy.digest}.safetensors"
        matrix = self._read(path, layout.prompts)
        if matrix is None:
            matrix = self._embed(layout.prompts, tuple(policy.templates))
            self._write(path, layout.prompts, matrix)
        else:
            for prompt, row in zip(layout.prompts, matrix, strict=True):
                self._prompts.setdefault((tuple(policy.templates), prompt), row)
        return CompiledPolicy(policy, layout, matrix, self._encoder.scale, self._encoder.bias)

    def _embed(self, prompts: tuple[str, ...], templates: tuple[str, ...]) -> Floats:
        """Embed prompts -> float32 [P, dimension].

        A prompt's vector is the normalised mean over the templates of the normalised text embeddings
        (Radford et al., 2021, section 3.1.4).
        """
        new = [prompt for prompt in prompts if (templates, prompt) not in self._prompts]
        if new:
            texts = [fill(template, prompt) for prompt in new for template in templates]
            rows = self._encoder.embed_texts(texts).reshape(len(new), len(templates), -1).mean(axis=1)
            rows /= np.linalg.norm(rows, axis=1, keepdims=True)
            if not np.isfinite(rows).all():
                raise EmbeddingInvalid("the text tower returned NaN; try MODERATOR_DTYPE=float32")
            self._prompts.update({(templates, prompt): row for prompt, row in zip(new, rows, strict=True)})
        return np.stack([self._prompts[templates, prompt] for prompt in prompts])

    def _read(self, path: Path, prompts: tuple[str, ...]) -> Floats | None:
        if not path.exists():
            return None
        try:
            with safe_open(path, framework="numpy") as file:
                kept = json.loads((file.metadata() or {}).get("prompts", "[]"))
                matrix: Floats = file.get_tensor("matrix")
        except (SafetensorError, OSError, ValueError) as error:
            log.warning("compiled policy %s is broken (%s): compiling it again", path, error)
            return None
        shape = len(prompts), self._encoder.dimension
        fits = kept == list(prompts) and matrix.shape == shape and matrix.dtype == np.float32
        return matrix if fits and np.isfinite(matrix).all() else None

    def _write(self, path: Path, prompts: tuple[str, ...], matrix: Floats) -> None:
        data = save({"matrix": matrix}, metadata={"prompts": json.dumps(prompts)})
        try:
            write_atomically(path, data)
        except OSError as error:
            log.warning("cannot keep the compiled policy at %s: %s", path, error)
