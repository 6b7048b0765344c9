"""What can be wrong with an encoder, and with the files that are made with one."""

from moderator.errors.moderator_error import ModeratorError


class ModelError(ModeratorError):
    """Base of what can be wrong with an encoder."""

    stage = "embed"


class EncoderUnknown(ModelError):
    """No encoder family of that name, or its optional packages are not installed."""


class RuntimeMissing(ModelError):
    """The packages of a runtime are not installed; the message names the extra to install."""


class WeightsInvalid(ModelError):
    """Weights are missing or are not the published ones: their digest differs."""


class EmbeddingInvalid(ModelError):
    """The model returned something that is no embedding (NaN, infinite or zero)."""


class ModelBroken(ModelError):
    """The model fails on an input that it could answer before: the fault is no image's, and nothing is judged."""

    transient = True


class UseError(ModeratorError):
    """Base of what can be wrong with the files of classification, bulk embedding, search and probes."""

    stage = "use"


class LabelsInvalid(UseError):
    """Labels, templates or labelled images are missing or do not follow their format."""


class EmbeddingsUnreadable(UseError):
    """A file is no file of embeddings, or is broken."""


class ModelMismatch(UseError):
    """Embeddings or a probe were made by another model: their numbers do not compare."""


class ProbeInvalid(UseError):
    """A file is no probe, or is broken."""


class EmbeddingBusy(UseError):
    """Another process writes the same file of embeddings."""


class ExtraMissing(UseError):
    """An optional package is not installed; the message names the extra to install."""
