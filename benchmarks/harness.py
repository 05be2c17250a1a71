"""The one stopwatch. Every number of the README and of benchmarks/results comes from here.

Method: one thread (torch, OpenMP and numba are told so before they start). Contestants take turns
(A B C A B C ...), so that a machine that slows down slows down for all of them. A turn is one call
that is not timed, then as many as fill TURN_S, wall clock; on a GPU, one call between two CUDA
events with a cold L2 cache. Reported are the median over turns and its interquartile range.
Equality is checked by the benchmark before anything is timed.
"""

import ctypes
import gc
import os

ONE_THREAD = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")
for variable in ONE_THREAD:
    os.environ.setdefault(variable, "1")  # read when the libraries below are loaded

import statistics  # noqa: E402
import time  # noqa: E402
from collections.abc import Callable, Mapping  # noqa: E402
from dataclasses import asdict, dataclass  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

import torch  # noqa: E402

torch.set_num_threads(1)

WARM_UP_CALLS = 2
TURN_S = 2e-3  # long against the clock's own cost, short against a machine's moods
FEWEST_REPEATS = 5  # even when they take longer than the budget


@dataclass
class Effort:
    """How long to look; run.py --quick lowers it for everybody."""

    repeats: int = 30
    budget_s: float = 10.0  # per race


EFFORT = Effort()
L2_FLUSH_BYTES = 256 * 2**20  # larger than any current L2, so that each turn starts cold

Contestant = Callable[[], object]


@dataclass(frozen=True)
class Timing:
    """Seconds per call."""

    median_s: float
    iqr_s: float


def race(
    contestants: Mapping[str, Contestant],
    *,
    device: str = "cpu",
    repeats: int | None = None,
) -> dict[str, Timing]:
    """Time all contestants in turns; every one gets the same number of turns."""
    for run in contestants.values():
        for _ in range(WARM_UP_CALLS):
            run()
    on_cuda = torch.device(device).type == "cuda"
    clocks = {
        name: _cuda_clock(run) if on_cuda else _wall_clock(run) for name, run in contestants.items()
    }
    turns: dict[str, list[float]] = {name: [] for name in contestants}
    started = time.perf_counter()
    gc.disable()
    try:
        for done in range(min(repeats or EFFORT.repeats, EFFORT.repeats)):
            if done >= FEWEST_REPEATS and time.perf_counter() - started > EFFORT.budget_s:
                break
            for name, clock in clocks.items():
                turns[name].append(clock())
    finally:
        gc.enable()
    return {name: _summary(seconds) for name, seconds in turns.items()}


def measure(run: Contestant, repeats: int | None = None, *, device: str = "cpu") -> Timing:
    """Time one thing alone, where there is nothing to compare it with."""
    return race({"it": run}, device=device, repeats=repeats)["it"]


def result(
    operator: str, case: str, contestants: Mapping[str, Contestant], **extra: Any
) -> dict[str, Any]:
    """Race and report, in the form that run.py writes down. The contestant "unmask" is ours.

    Extra facts of the case ("bytes", "speedup_of", ...) are kept in the report as they are;
    ``device`` and ``repeats`` among them also reach the stopwatch.
    """
    options = {name: extra[name] for name in ("device", "repeats") if name in extra}
    timings = {name: asdict(timing) for name, timing in race(contestants, **options).items()}
    return {
        "operator": operator,
        "case": case,
        "ours": timings.pop("unmask"),
        "peers": timings,
        "extra": extra,
    }


def peak_extra_bytes(run: Contestant) -> int:
    """By how much one call, after a first, raises the memory that this process has in use."""
    run()
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # what an earlier call left in the heap would hide this one
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts again from now
    before = _kilobytes("VmRSS")
    run()
    return max(0, _kilobytes("VmHWM") - before) * 1024


def _kilobytes(what: str) -> int:
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith(what))


def _summary(seconds: list[float]) -> Timing:
    if len(seconds) == 1:
        return Timing(median_s=seconds[0], iqr_s=0.0)
    low, middle, high = statistics.quantiles(seconds, n=4, method="inclusive")
    return Timing(median_s=middle, iqr_s=high - low)


def _wall_clock(run: Contestant) -> Callable[[], float]:
    calls = max(1, round(TURN_S / _wall_seconds(run, 1)))

    def turn() -> float:
        run()
        return _wall_seconds(run, calls) / calls

    return turn


def _wall_seconds(run: Contestant, calls: int) -> float:
    start = time.perf_counter()
    for _ in range(calls):
        run()
    return time.perf_counter() - start


def _cuda_clock(run: Contestant) -> Callable[[], float]:
    def turn() -> float:
        torch.empty(L2_FLUSH_BYTES, dtype=torch.int8, device="cuda").zero_()
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        run()
        end.record()
        end.synchronize()
        return float(start.elapsed_time(end)) * 1e-3

    return turn
