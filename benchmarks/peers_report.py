"""The output of `benchmarks/peers.py`: a table for people, figures for a program."""

from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import median

#: Ours, the peer, and the name of their ratio.
PAIRS = (
    ("check", "openmoderate", "check_over_openmoderate"),
    ("service", "infinity", "service_over_infinity"),
    ("service", "litserve", "service_over_litserve"),
)


@dataclass
class Way:
    """Something to measure: `run` returns images per second and the client's share of a core."""

    run: Callable[[], tuple[float, float]]
    setting: str
    cosine: float = 1.0
    speeds: list[float] = field(default_factory=list)
    shares: list[float] = field(default_factory=list)


def ratio(one: Way, other: Way) -> float:
    """Return the median of the ratios over the rounds."""
    return round(median(a / b for a, b in zip(one.speeds, other.speeds, strict=True)), 3)


def table(ways: dict[str, Way], skipped: dict[str, str]) -> str:
    """Return the measurements, one line each."""
    lines = [
        f"  {'':14} {'images/s':>9} {'min':>7} {'max':>7} {'client':>7} {'cosine':>8}  setting",
    ]
    for name, way in ways.items():
        lines.append(
            f"  {name:14} {median(way.speeds):9.1f} {min(way.speeds):7.1f} {max(way.speeds):7.1f}"
            f" {median(way.shares):7.1%} {way.cosine:8.5f}  {way.setting}"
        )
    lines += [f"  {peer:14} skipped: {reason}" for peer, reason in skipped.items()]
    return "\n".join(lines)


def result(ways: dict[str, Way], skipped: dict[str, str]) -> dict[str, object]:
    """Return the figures for a program; a ratio is null if the peer was skipped."""
    return {
        **{key: ratio(ways[own], ways[peer]) if peer in ways else None for own, peer, key in PAIRS},
        "images_per_s": {name: round(median(way.speeds), 1) for name, way in ways.items()},
        "rounds": {name: [round(speed, 1) for speed in way.speeds] for name, way in ways.items()},
        "client_share_of_a_core": {name: round(median(way.shares), 3) for name, way in ways.items()},
        "cosine": {name: round(way.cosine, 6) for name, way in ways.items()},
        "settings": {name: way.setting for name, way in ways.items()},
        "skipped": skipped,
    }
