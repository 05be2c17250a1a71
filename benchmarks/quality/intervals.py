"""Means over seeds and prompts, and how far to trust them."""

from collections.abc import Sequence
from typing import Any

import numpy as np

RESAMPLES = 1000


def summary(cells: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """One row of a table from one cell per seed, each with "steps" and "score" of every sequence.

    Returns:
        For steps and score: the mean over seeds, the lowest and highest seed, and the central 95 %
        of a bootstrap that draws seeds and then sequences, with replacement.
    """
    row: dict[str, Any] = {"seeds": len(cells)}
    for name in ("steps", "score"):
        seeds = [np.asarray(cell[name], dtype=float) for cell in cells]
        means = [float(values.mean()) for values in seeds]
        row[name] = round(float(np.mean(means)), 5)
        row[f"{name}_range"] = [round(min(means), 5), round(max(means), 5)]
        row[f"{name}_95"] = [round(float(edge), 5) for edge in _bootstrap(seeds)]
    return row


def _bootstrap(seeds: Sequence[np.ndarray]) -> np.ndarray:
    """The 2.5 % and 97.5 % quantiles of the mean of means."""
    rng = np.random.default_rng(0)
    drawn = np.stack(
        [
            values[rng.integers(len(values), size=(RESAMPLES, len(values)))].mean(1)
            for values in seeds
        ]
    )  # [seeds, RESAMPLES]
    pick = rng.integers(len(seeds), size=(len(seeds), RESAMPLES))
    means: np.ndarray = np.take_along_axis(drawn, pick, axis=0).mean(0)
    edges: np.ndarray = np.quantile(means, [0.025, 0.975])
    return edges
