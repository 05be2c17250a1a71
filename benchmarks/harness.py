"""The one stopwatch: every number comes from here, so that all are taken the same way."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Timing:
    """Seconds per call."""

    median: float
    iqr: float  # between the quartiles


def measure(call: Callable[[], object], repeats: int = 200) -> Timing:
    """Wall clock of single calls after a warm-up; what the calls read stays in the cache."""
    for _ in range(max(3, repeats // 20)):
        call()
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    low, median, high = statistics.quantiles(seconds, n=4)
    return Timing(median, high - low)
