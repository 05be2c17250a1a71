"""How many tokens to reveal in each step, decided before the first one.

A schedule is asked ``sizes(masks, steps)`` and answers with as many whole numbers as there are
steps; they add up to the number of masks, and none is zero unless ``allow_zero`` says so.

    >>> from unmask.schedules import Cosine, TCAdaptive
    >>> Cosine().sizes(32, 8)
    [1, 1, 3, 4, 5, 6, 6, 6]
    >>> TCAdaptive().sizes(32, 8)
    [11, 7, 5, 3, 2, 2, 1, 1]

Which is good depends on the data: :mod:`unmask.schedules.kl` computes what a schedule costs where
that is known exactly.
"""

from unmask.schedules.adaptive import DTCAdaptive, TCAdaptive
from unmask.schedules.base import Schedule
from unmask.schedules.curves import Beta, Cosine, Linear, LogLinear, Quota, Sine, SquaredSine
from unmask.schedules.randomised import RandomisedSizes, optimal_pair, optimal_sizes
from unmask.schedules.tune import tune_beta

__all__ = [
    "Beta",
    "Cosine",
    "DTCAdaptive",
    "Linear",
    "LogLinear",
    "Quota",
    "RandomisedSizes",
    "Schedule",
    "Sine",
    "SquaredSine",
    "TCAdaptive",
    "optimal_pair",
    "optimal_sizes",
    "tune_beta",
]
