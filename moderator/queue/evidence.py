"""The basis of a verdict as the outbox carries it: the embedding in half precision and the signal readings."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import ConfigDict, TypeAdapter
from pydantic_core import to_json

from moderator.verdicts import ModelFacts
from moderator.view import View

if TYPE_CHECKING:  # modules that only pass evidence on do not load NumPy
    import numpy as np
    from numpy.typing import NDArray

#: Little-endian on every machine.
DTYPE, NUMPY_DTYPE = "float16", "<f2"

_VIEWS = TypeAdapter(tuple[View, ...], config=ConfigDict(defer_build=True))


@dataclass(frozen=True, eq=False)
class Evidence:
    """The basis of a verdict.

    It lets another policy decide on the same image without its pixels. The readings leave out signals that use only
    the embedding: these can be read from it again.
    """

    embeddings: "NDArray[Any]"
    """[views, dimension]: float32 from the model, float16 from the outbox."""
    readings: Mapping[str, Any]
    """By the key of a signal: `score`, `unsure` and `facts`, or `error`. See `moderator.signals.evaluator.plain`."""
    model: ModelFacts
    """The model that computed the embeddings."""
    views: tuple[View, ...] = ()
    """What each row of the embeddings shows; empty: each is a whole frame."""

    def to_fields(self) -> tuple[bytes, bytes, bytes]:
        """Return the bytes of the embeddings (C order), then their description and the readings as JSON."""
        tensor = {"dtype": DTYPE, "shape": self.embeddings.shape, "model": self.model}
        if not all(view.is_whole for view in self.views):
            tensor["views"] = self.views
        return self.embeddings.astype(NUMPY_DTYPE).tobytes(), to_json(tensor), to_json(self.readings)

    @classmethod
    def from_fields(cls, embedding: bytes, tensor: bytes, readings: bytes) -> "Evidence":
        """Read what `to_fields` wrote.

        Raises:
            ValueError: it is something else.
        """
        import numpy as np

        try:
            described = json.loads(tensor)
            if described["dtype"] != DTYPE:
                raise ValueError(f"{described['dtype']} is not {DTYPE}")
            rows = np.frombuffer(embedding, dtype=NUMPY_DTYPE).reshape(described["shape"])
            views = _VIEWS.validate_python(described.get("views", ()))
            if views and len(views) != len(rows):
                raise ValueError(f"{len(views)} views of {len(rows)} rows")
            return cls(rows, json.loads(readings), ModelFacts.model_validate(described["model"]), views)
        except (KeyError, TypeError) as error:
            raise ValueError(f"no embedding: {error}") from error


def as_kept(embeddings: "NDArray[np.float32]") -> "NDArray[np.float32]":
    """Return embeddings as evidence keeps them: float32 with the precision of float16.

    What is judged by these, a replay or a back-test judges by the same numbers.
    """
    import numpy as np

    return embeddings.astype(NUMPY_DTYPE).astype(np.float32)
