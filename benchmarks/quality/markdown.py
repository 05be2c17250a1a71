"""Small pieces of Markdown."""

from collections.abc import Iterable, Sequence
from typing import Any


def table(head: Sequence[str], rows: Iterable[Sequence[str]], left: int = 1) -> list[str]:
    """The lines of a table; the first ``left`` columns are text, the others numbers."""
    align = ["-" if column < left else "-:" for column in range(len(head))]
    return [_line(head), _line(align), *(_line(row) for row in rows), ""]


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def picture(name: str, told: str) -> list[str]:
    """A plot of docs/quality."""
    return [f"![{told}](quality/{name}.png)", ""]


def interval(row: dict[str, Any], name: str, which: str, digits: int) -> str:
    """``2.75 (2.70-2.81)``; the mean alone where nothing varies."""
    low, high = (f"{edge:.{digits}f}" for edge in row[f"{name}_{which}"])
    mean = f"{row[name]:.{digits}f}"
    return mean if low == high == mean else f"{mean} ({low}-{high})"


def both(row: dict[str, Any], which: str = "range") -> list[str]:
    """Steps and accuracy with their intervals."""
    return [interval(row, "steps", which, 2), interval(row, "score", which, 3)]


def spread(values: Sequence[float], digits: int = 3) -> str:
    """Mean and range over seeds."""
    row = {"x": sum(values) / len(values), "x_range": [min(values), max(values)]}
    return interval(row, "x", "range", digits)
