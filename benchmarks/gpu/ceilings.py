"""What this card can do: every floor in the report is a count divided by one of these."""

from collections.abc import Callable
from typing import Any

import torch

from gpu import timing
from gpu.bench import Bench

FOUR_GB = 1 << 32


def measure_all(bench: Bench) -> dict[str, float | None]:
    """Bytes, operations or seconds; None for what needs Triton where that is not installed."""
    size = 1 << 22 if bench.tiny else FOUR_GB
    return {
        **_traffic(bench, size),
        "gemm_flop_per_s": _gemm(bench, 64 if bench.tiny else 8192),
        "graph_kernel_s": _empty_kernel(bench),
        "l2_read_bytes_per_s": _l2_read(bench),
    }


def best_s(bench: Bench, *ways: Callable[[Any], object]) -> float:
    """The fastest way to do the same; a ceiling is what somebody reached."""
    return min(
        timing.measure(way, [None], bench.stopwatch, patience_s=bench.patience_s).median_s
        for way in ways
    )


def _traffic(bench: Bench, size: int) -> dict[str, float | None]:
    """Bytes read and written of a copy; bytes read where next to nothing is written."""
    data = bench.randn(size // 4)
    target = torch.empty_like(data)
    copy = best_s(bench, lambda _: target.copy_(data))
    ways: list[Callable[[Any], object]] = [
        lambda _: data.sum(),
        lambda _: data.amax(),
        lambda _: data.view(-1, 1 << 16).sum(-1),
    ]
    if bench.triton:
        for per_sm in (4, 8, 16):
            programs = per_sm * _multiprocessors(bench)
            ways.append(lambda _, programs=programs: bench.triton.read_all(data, programs))  # type: ignore[misc]
    return {"copy_bytes_per_s": 2 * size / copy, "read_bytes_per_s": size / best_s(bench, *ways)}


def _gemm(bench: Bench, n: int) -> float:
    """Random operands: zeros draw less power and run faster than anything real."""
    a, b = (bench.randn(n, n, dtype=torch.bfloat16, seed=seed) for seed in (1, 2))
    return 2 * n**3 / best_s(bench, lambda _: a @ b)


def _empty_kernel(bench: Bench) -> float:
    """From one kernel of a graph to the next that depends on it."""
    little = torch.zeros(1, device=bench.device)
    if bench.triton:
        return best_s(bench, lambda _: bench.triton.nothing(little))
    return best_s(bench, lambda _: little.add_(1))


def _l2_read(bench: Bench) -> float | None:
    """Half of L2, read again and again by every multiprocessor."""
    if not bench.triton:
        return None
    rounds, programs = 256, 4 * _multiprocessors(bench)
    data = bench.randn(bench.cold_bytes // 3 // 2 // 4)
    seconds = best_s(bench, lambda _: bench.triton.read_again(data, programs, rounds))
    return float(programs * rounds * bench.triton.BLOCK * 4 / seconds)


def _multiprocessors(bench: Bench) -> int:
    return int(torch.cuda.get_device_properties(bench.device).multi_processor_count)
