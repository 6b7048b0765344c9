"""Time per stage of one event."""

import time
from dataclasses import dataclass, field


@dataclass
class Stopwatch:
    """Milliseconds per stage of one event."""

    timings_ms: dict[str, float] = field(default_factory=dict)
    _mark: float = field(default_factory=time.perf_counter)

    def lap(self, stage: str) -> float:
        """Charge the time since the last lap to a stage, and return it in seconds."""
        now = time.perf_counter()
        seconds, self._mark = now - self._mark, now
        self.note(stage, seconds)
        return seconds

    def note(self, stage: str, seconds: float) -> None:
        """Record a time that was measured elsewhere."""
        self.timings_ms[stage] = round(seconds * 1000, 3)
