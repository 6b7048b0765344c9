"""Errors of encoders, and of the files made with them."""

from moderator.errors.moderator_error import ModeratorError


class ModelError(ModeratorError):
    """Base of the errors of encoders."""

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
    """The model fails on an input that it could answer before: no image is to blame, and nothing is judged."""

    transient = True


class UseError(ModeratorError):
    """Base of the errors of files of classification, bulk embedding, search and probes."""

    stage = "use"


class LabelsInvalid(UseError):
    """Labels, templates or labelled images are missing or do not follow their format."""


class TargetInvalid(UseError):
    """The target of a tuning does not follow its format; the message says what does."""


class EmbeddingsUnreadable(UseError):
    """A file is no file of embeddings, or is broken."""


class ModelMismatch(UseError):
    """Embeddings or a probe were made by another model: their numbers are not comparable."""


class ProbeInvalid(UseError):
    """A file is no probe, or is broken."""


class EmbeddingBusy(UseError):
    """Another process writes the same file of embeddings."""


class ExtraMissing(UseError):
    """An optional package is not installed; the message names the extra to install."""
