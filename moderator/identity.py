"""The name of a model, by which embeddings, policies and probes are matched."""

from dataclasses import dataclass
from hashlib import sha256


@dataclass(frozen=True)
class Identity:
    """What makes two embeddings comparable: equal identities give equal numbers.

    `id` is the setting that chose the model, `revision` its weights (hub commit or digest) and
    `preprocessing` how pixels and texts reach it.
    """

    id: str
    revision: str
    preprocessing: str

    @property
    def key(self) -> str:
        """Short stable name for files and caches (16 hex digits)."""
        text = "\n".join((self.id, self.revision, self.preprocessing))
        return sha256(text.encode()).hexdigest()[:16]

    def __str__(self) -> str:
        return f"{self.id} (revision {self.revision[:12]})"
