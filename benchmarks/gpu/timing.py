"""The GPU's stopwatch: calls captured in a CUDA graph, replayed between events.

Method: 10 warm-up calls; then as many calls as there are input sets (and at least enough to fill
REPLAY_S) are captured, each on the next input set, so that no call finds its inputs in the cache;
the graph is replayed at least 20 times with an event on either side. Reported are the median and
the interquartile range per call. Beside it stands what a user sees without graphs: wall clock over
the same calls, and one wait at the end.

What touches the device is behind three small methods, so that the logic is tested without one.
"""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import torch

WARM_UP_CALLS = 10
FEWEST_REPLAYS, MOST_REPLAYS = 20, 100
FEWEST_WHEN_SLOW = 5  # where 20 replays would outlast PATIENCE_S
REPLAY_S = 3e-4  # long against the half microsecond that events resolve
PATIENCE_S = 2.0
MOST_CALLS = 64  # in one graph
WALL_REPEATS = 5

Work = Callable[[], object]


class Device(Protocol):
    """What the stopwatch asks of a device."""

    def capture(self, work: Work) -> Work:
        """What repeats `work` without the host's help."""

    def seconds(self, run: Work) -> float:
        """By the device's own clock, from before `run` to after it."""

    def finish(self) -> None:
        """Wait for everything that was asked for."""


class Cuda:
    """Graphs and events of torch."""

    def capture(self, work: Work) -> Work:
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            work()
        return graph.replay  # keeps the graph

    def seconds(self, run: Work) -> float:
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        run()
        end.record()
        end.synchronize()
        return float(start.elapsed_time(end)) * 1e-3

    def finish(self) -> None:
        torch.cuda.synchronize()


class Cpu:
    """Stands in where there is no GPU: what is timed then shows that the command works."""

    def capture(self, work: Work) -> Work:
        return work

    def seconds(self, run: Work) -> float:
        start = time.perf_counter()
        run()
        return time.perf_counter() - start

    def finish(self) -> None:
        pass


@dataclass(frozen=True)
class Timing:
    """Seconds per call, and how they were found."""

    median_s: float
    iqr_s: float
    wall_s: float  # without a graph, as a user would call it
    graphed: bool
    calls: int  # per replay
    replays: int

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def measure(
    call: Callable[[Any], object],
    inputs: Sequence[Any],
    device: Device,
    *,
    prepare: Work | None = None,
    graph: bool = True,
    patience_s: float = PATIENCE_S,
) -> Timing:
    """Time `call` over rotating inputs.

    ``prepare`` puts inputs that the call changes back as they were; it runs before every replay,
    outside the measured time, and every input set is then used once per replay. ``graph=False`` is
    for what cannot be captured because it waits for the device.
    """
    restored = prepare is not None
    prepare = prepare or _nothing
    once = _warm_up(call, inputs, device, prepare)
    calls = len(inputs) if restored else calls_per_replay(len(inputs), once)

    def work() -> None:
        for i in range(calls):
            call(inputs[i % len(inputs)])

    prepare()
    device.finish()
    run = device.capture(work) if graph else work
    samples = []
    for _ in range(replays_for(once * calls, patience_s) + 1):  # the first one is not counted
        prepare()
        device.finish()
        samples.append(device.seconds(run) / calls)
    low, middle, high = statistics.quantiles(samples[1:], n=4, method="inclusive")
    wall = _wall_s(work, device, prepare, once * calls, patience_s) / calls
    return Timing(middle, high - low, wall, graph, calls, len(samples) - 1)


def calls_per_replay(sets: int, once: float) -> int:
    """Every input set equally often, until a replay is long against the clock's resolution."""
    rounds = min(REPLAY_S / max(once, 1e-7), MOST_CALLS) / sets
    return sets * max(1, round(rounds))


def replays_for(replay_s: float, patience_s: float) -> int:
    """As many as patience allows between 20 and 100; fewer than 20 only where that takes long."""
    affordable = int(patience_s / max(replay_s, 1e-7))
    fewest = FEWEST_REPLAYS if affordable >= FEWEST_REPLAYS else FEWEST_WHEN_SLOW
    return min(MOST_REPLAYS, max(fewest, affordable))


def input_sets(bytes_per_set: int, cold_bytes: int, most: int = 32) -> int:
    """How many sets it takes until a call's inputs have left the cache when their turn comes."""
    return max(1, min(most, -(-cold_bytes // max(1, bytes_per_set))))


def _nothing() -> None:
    pass


def _warm_up(
    call: Callable[[Any], object], inputs: Sequence[Any], device: Device, prepare: Work
) -> float:
    """Seconds of one call, roughly."""
    seconds = []
    for i in range(WARM_UP_CALLS):
        if i % len(inputs) == 0:
            prepare()
        device.finish()
        seconds.append(device.seconds(lambda i=i: call(inputs[i % len(inputs)])))  # type: ignore[misc]
        if i >= 2 and sum(seconds) > PATIENCE_S:
            break
    return min(seconds)


def _wall_s(work: Work, device: Device, prepare: Work, expected: float, patience_s: float) -> float:
    seconds = []
    for _ in range(WALL_REPEATS if expected * WALL_REPEATS < patience_s else 1):
        prepare()
        device.finish()
        start = time.perf_counter()
        work()
        device.finish()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)
