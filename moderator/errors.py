"""Every error that a user of the project can meet, in one hierarchy.

A class name is what monitoring and dead letters show as the error's `type`, so it names what went wrong
for the user. A message names the cause and the remedy. `transient` says whether trying again may help;
`stage` is the step of the flow that the failure is counted under.
"""

from typing import ClassVar

from moderator.printable import printable


class ModeratorError(Exception):
    """Base of all errors raised on purpose by this project."""

    transient: ClassVar[bool] = False
    #: Whether the worker's own parts suffered: an event that does so twice is not tried a third time.
    harmful: ClassVar[bool] = False
    stage: ClassVar[str] = "internal"


class SettingsError(ModeratorError):
    """A setting is missing, malformed or contradicts another."""

    stage = "settings"


# --- events ------------------------------------------------------------------------------------------


class EventInvalid(ModeratorError):
    """A message on the queue is not an event."""

    stage = "intake"


class QueueUnavailable(ModeratorError):
    """Redis cannot be reached, so nothing was accepted."""

    transient = True
    stage = "intake"


class SpoolFull(QueueUnavailable):
    """Redis cannot be reached, or earlier events wait in the spool, and the spool has no room: nothing was kept."""


class SpoolUnavailable(QueueUnavailable):
    """The spool cannot be read or written, so the event is kept nowhere."""


class QueueFull(ModeratorError):
    """The queue has no room for a message, so nothing of it was accepted; `retry_after` says when to try again."""

    transient = True
    stage = "intake"

    def __init__(self, message: str, retry_after: float) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        """Seconds."""


class VerdictTimeout(ModeratorError):
    """No verdict arrived within the time that the caller was ready to wait."""

    transient = True
    stage = "intake"


class VerdictUnreadable(ModeratorError):
    """A verdict is kept in a form that this version cannot read."""

    stage = "intake"


class VerdictsMissed(ModeratorError):
    """Verdicts left the stream before a reader read them.

    They are those from the entry id `start` to `end`, `count` of them (None: unknown).
    """

    stage = "intake"

    def __init__(self, message: str, *, start: str, end: str, count: int | None) -> None:
        super().__init__(message)
        self.start = start
        self.end = end
        self.count = count


class AttemptsExhausted(ModeratorError):
    """An event was tried as often as allowed and never got a verdict: its worker died or its tries failed."""

    stage = "worker"


class WorkerFailed(ModeratorError):
    """A worker that a command started did not come up; the message has its log."""

    stage = "worker"


class WorkerStopping(ModeratorError):
    """The worker is shutting down; the event goes back to the queue."""

    transient = True
    stage = "worker"


class RecordUnreadable(ModeratorError):
    """What stands in Redis of an event cannot be read: another version wrote it, or something else."""

    stage = "worker"


class RedisMisused(ModeratorError):
    """A key of ours in Redis holds something else than it should, so a step was not done."""

    transient = True
    stage = "worker"


class Unexpected(ModeratorError):
    """Something raised an error that nobody foresaw; the worker's log has the traceback."""

    transient = True
    stage = "worker"


class DeadLetterNotFound(ModeratorError):
    """No dead letter of that key."""


class WebhookFailed(ModeratorError):
    """A webhook did not accept a verdict; `retry_after` are the seconds for which it wants to be left alone."""

    transient = True
    stage = "webhook"

    def __init__(self, message: str, retry_after: float = 0.0) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class WebhookRedirected(ModeratorError):
    """A webhook answered with a redirect, which is not followed: the body would go where nobody said."""

    stage = "webhook"


class WebhookDisabled(ModeratorError):
    """A webhook said that it is gone for good, so its address gets no more deliveries."""

    stage = "webhook"


class ConsumerUnavailable(ModeratorError):
    """A consumer of the outbox can take no verdict now, whichever it is."""

    transient = True
    stage = "delivery"


class DeliveryUnreadable(ModeratorError):
    """What is kept of a delivery cannot be read; `key`, `url` and `body` are what there is of it."""

    stage = "webhook"

    def __init__(self, key: bytes, url: bytes = b"", body: bytes = b"") -> None:
        super().__init__(
            f"the record of the delivery {key.decode('utf-8', 'replace')} cannot be read: another version or another "
            "program wrote it; the verdict itself is in the stream"
        )
        self.key, self.url, self.body = key, url, body


# --- images: getting the bytes -----------------------------------------------------------------------


class ImageError(ModeratorError):
    """Base of what can be wrong with an image or with getting it."""

    stage = "fetch"


class FetchRefused(ImageError):
    """The reference points where we do not go: outside the roots, a private address, another scheme."""


class FetchFailed(ImageError):
    """The image could not be got, and trying again may help: a time-out, a broken connection, a 5xx."""

    transient = True


class HostUnavailable(FetchFailed):
    """The host failed several times in a row, so it was not asked; `retry_after` says when it may be again."""

    def __init__(self, message: str, retry_after: float) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        """Seconds."""


class ImageNotFound(ImageError):
    """Nothing is there: no such file, or a 4xx answer."""


class NoImages(ImageNotFound):
    """What a command was given names no image at all: an empty folder, a pattern that nothing matches."""


class ImageTooLarge(ImageError):
    """More bytes, pixels or metadata than allowed."""

    stage = "decode"


class NotAnImage(ImageError):
    """The bytes are no image in an accepted format."""

    stage = "decode"


class ImageBroken(ImageError):
    """The bytes start like an image but cannot be decoded to the end."""

    stage = "decode"


class DecodeTimeout(ImageError):
    """Decoding took longer than allowed."""

    transient = True
    harmful = True
    stage = "decode"


class DecoderCrashed(ImageError):
    """The process that decoded the image died over it, or answered nonsense."""

    transient = True
    harmful = True
    stage = "decode"


class DecoderUnavailable(ImageError):
    """No decoding process comes up; the worker's log says why."""

    transient = True
    stage = "decode"


# --- policies ----------------------------------------------------------------------------------------


class PolicyError(ModeratorError):
    """Base of what can be wrong with a policy."""

    stage = "score"


class PolicyInvalid(PolicyError):
    """A policy file does not follow the format; the message names file, line, key and remedy.

    Each argument is one problem; the message is one line for each.
    """

    def __str__(self) -> str:
        return "\n".join(map(str, self.args))


class PolicyUnreadable(PolicyInvalid):
    """A file of the folder of policies cannot be read now; it is read again at the next look at the folder."""


class PolicyNotFound(PolicyError):
    """No policy of that name or version."""


class PolicyUnreleased(PolicyError):
    """A version that should decide is not in `releases.lock`."""


class PolicyChanged(PolicyError):
    """A released version was edited: its digest is not the one in `releases.lock`."""


class PolicyUnusable(PolicyError):
    """A valid version cannot be used here: its prompts do not compile, or a signal lacks its file or its package."""


class PolicyConflict(PolicyError):
    """A policy is not as whoever changes it has seen it: somebody else changed it meanwhile."""


class PolicyNotWritten(PolicyError):
    """The folder of policies cannot be changed: it is read-only, or another command is at it."""


# --- signals -----------------------------------------------------------------------------------------


class SignalFailed(ModeratorError):
    """A signal that a policy asks for cannot be made or read, so there is no judgement."""

    stage = "signals"


class SignalTimeout(SignalFailed):
    """Reading a signal takes longer than it may; what was not read may hold anything."""


class SignalBusy(SignalFailed):
    """So many images are being looked at by slow signals that the one of a shadow was left out."""


# --- models ------------------------------------------------------------------------------------------


class ModelError(ModeratorError):
    """Base of what can be wrong with an encoder."""

    stage = "embed"


class EncoderUnknown(ModelError):
    """No encoder family of that name, or its optional packages are not installed."""


class RuntimeMissing(ModelError):
    """The packages of a runtime are not installed; the message names the extra that brings them."""


class WeightsInvalid(ModelError):
    """Weights are missing or are not the published ones: their digest differs."""


class EmbeddingInvalid(ModelError):
    """The model returned something that is no embedding (NaN, infinite or zero)."""


class ModelBroken(ModelError):
    """The model fails on an input that it could answer before: the fault is no image's, and nothing is judged."""

    transient = True


# --- other uses of the encoder -----------------------------------------------------------------------


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
    """An optional package is not installed; the message names the extra that brings it."""


# --- errors of others ----------------------------------------------------------------------------------


def brief(error: BaseException) -> str:
    """An error of somebody else's code: its type and message, printable and bounded."""
    return printable(f"{type(error).__name__}: {error}", " ")[:300]


def ours(error: Exception) -> ModeratorError:
    """An error of this project for whatever was raised."""
    return error if isinstance(error, ModeratorError) else Unexpected(brief(error))
