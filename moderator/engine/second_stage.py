"""The stage after judging: asks for second opinions on images in review, for a stated share of the traffic."""

from threading import Lock

from moderator.engine.judge import Judged, reconsider
from moderator.engine.preparer import Preparer
from moderator.errors import ModeratorError, SignalBusy, ours
from moderator.signals.evaluator import Moment, Outcome, Signals, due
from moderator.signals.question import opinion_key

#: Questions that a quiet time may save up: most images in a row that are asked about, beyond the share.
SAVED_QUESTIONS_MAX = 10.0


class TrafficShare:
    """Admits at most a share of what passes. Depends on the order of images alone, not on time. Thread-safe.

    Each image adds `share` of a question, up to `SAVED_QUESTIONS_MAX`; a question takes one. After n images, at most
    `share * n + 1` were admitted.
    """

    def __init__(self, share: float) -> None:
        self._share = share
        self._saved = 1.0 - share
        self._lock = Lock()

    def admit(self, wanted: bool) -> bool:
        """Count an image, and return whether a question about it is admitted; False if none is wanted."""
        with self._lock:
            self._saved = min(self._saved + self._share, SAVED_QUESTIONS_MAX)
            if not wanted or self._saved < 1.0 - 1e-9:
                return False
            self._saved -= 1.0
            return True


class SecondStage:
    """Asks for second opinions. Thread-safe.

    Args:
        preparer: decodes images, and has signals read them.
        signals: creates the signals.
    """

    def __init__(self, preparer: Preparer, signals: Signals) -> None:
        self._preparer = preparer
        self._signals = signals
        self._shares: dict[str, TrafficShare] = {}
        self._lock = Lock()

    def admit(self, judged: Judged) -> Judged:
        """Count a judged image, and leave it to people if it needs an opinion and the share is used up.

        If the result has questions, call `ask` or `leave`.
        """
        for spec in due([judged.policy], Moment.REVIEW):
            try:
                share = self._share(spec.key, getattr(self._signals.make(spec), "share", 1.0))
            except ModeratorError as error:
                return self.leave(judged, error)
            if not share.admit(bool(judged.questions)) and judged.questions:
                judged = self.leave(judged, SignalBusy("the signal's share of the images is used up"))
        return judged

    def ask(self, data: bytes, judged: Judged) -> Judged:
        """Ask for second opinions, and return the parts of the verdict with them.

        Never raises: a failure leaves the image in review. Takes as long as decoding and the time limits of the signals
        allow.

        Args:
            data: the file.
            judged: the image, with questions.
        """
        try:
            specs = due([judged.policy], Moment.REVIEW)
            return reconsider(judged, self._preparer.read_opinions(data, specs, judged.questions))
        except Exception as error:
            return self.leave(judged, ours(error))

    def leave(self, judged: Judged, reason: ModeratorError) -> Judged:
        """Return the parts of the verdict on an image that is left in review without an opinion."""
        if not judged.questions:
            return judged
        keys = [opinion_key(spec.key, judged.questions) for spec in due([judged.policy], Moment.REVIEW)]
        outcomes: dict[str, Outcome] = dict.fromkeys(keys, reason)
        return reconsider(judged, outcomes)

    def _share(self, key: str, share: float) -> TrafficShare:
        with self._lock:
            return self._shares.setdefault(key, TrafficShare(share))
