"""The experiments. Each says which cells it needs, and makes its JSON of those that are finished.

A module has ``NAME``, the stem of its file in benchmarks/results/quality; ``cells(scale)``; and
``collect(scale, finished)``, which leaves out what is not finished yet.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from quality.cells import Cell, Finished
from quality.experiments import ablations, pareto, scaling, schedules, sums
from quality.scale import Scale


@dataclass(frozen=True)
class Experiment:
    """A module's two functions, under its name."""

    cells: Callable[[Scale], list[Cell]]
    collect: Callable[[Scale, Finished], dict[str, Any]]


EXPERIMENTS = {
    module.NAME: Experiment(module.cells, module.collect)
    for module in (sums, pareto, scaling, ablations, schedules)
}
