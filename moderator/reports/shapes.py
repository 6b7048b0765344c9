"""Shapes of a drawing: elements of SVG as plain data. The template writes, and escapes, them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite

#: Width of drawings; the page scales them.
WIDTH = 560.0
#: Widths of a letter on average, in its size.
_LETTER_WIDTH = 0.57
TEXT_SIZE = 13.0


@dataclass(frozen=True)
class Shape:
    """An element: its tag, its attributes, and a text in it or a hint that appears under the pointer."""

    tag: str
    attributes: Mapping[str, str | float]
    text: str = ""
    hint: str = ""


@dataclass
class Drawing:
    """A drawing that grows."""

    height: float
    shapes: list[Shape] = field(default_factory=list)
    width: float = WIDTH

    def line(self, name: str, x1: float, y1: float, x2: float, y2: float) -> None:
        """Draw a line of the class `name`."""
        self.shapes.append(Shape("line", {"class": name, "x1": x1, "y1": y1, "x2": x2, "y2": y2}))

    def path(self, name: str, points: Sequence[tuple[float, float]], closed: bool = False) -> None:
        """Draw straight lines through points; those without a number are left out."""
        points = [(x, y) for x, y in points if isfinite(x) and isfinite(y)]
        if points:
            steps = " L".join(f"{x:g},{y:g}" for x, y in points)
            self.shapes.append(Shape("path", {"class": name, "d": f"M{steps}{'Z' if closed else ''}"}))

    def box(self, name: str, x: float, y: float, width: float, height: float, hint: str = "") -> None:
        """Draw a rectangle."""
        sides = {"x": round(x, 1), "y": round(y, 1), "width": round(width, 1), "height": round(height, 1)}
        self.shapes.append(Shape("rect", {"class": name, **sides}, hint=hint))

    def dot(self, name: str, x: float, y: float, hint: str = "") -> None:
        """Draw a point."""
        self.shapes.append(Shape("circle", {"class": name, "cx": x, "cy": y, "r": 4}, hint=hint))

    def text(self, name: str, x: float, y: float, text: str, anchor: str = "start") -> None:
        """Write a text whose start, middle or end (`anchor`) stands at a place."""
        self.shapes.append(
            Shape("text", {"class": name, "x": round(x, 1), "y": round(y, 1), "text-anchor": anchor}, text)
        )

    def upright_text(self, name: str, x: float, y: float, text: str) -> None:
        """Write a text from bottom to top, its middle at a place."""
        turned = {"class": name, "text-anchor": "middle", "transform": f"translate({x:g} {y:g}) rotate(-90)"}
        self.shapes.append(Shape("text", turned, text))


def text_width(text: str, size: float = TEXT_SIZE) -> float:
    """Return about how wide a text is."""
    return len(text) * size * _LETTER_WIDTH


def shortened(text: str, width: float, size: float = TEXT_SIZE) -> str:
    """Return a text, cut with an ellipsis if it is wider than that."""
    most = max(int(width / (size * _LETTER_WIDTH)), 2)
    return text if len(text) <= most else f"{text[: most - 1]}…"
