"""Greedy independent set on one CPU thread, against pyamg, numba and networkx.

Everyone returns the identical set (asserted before anything is timed) from the same undirected
random graph and the same distinct priorities, and nobody gets the order for free: sorting by
priority is part of every time. What each is given:

=============== ============ ===================================================================
name            input        work that is timed
=============== ============ ===================================================================
unmask          bits         radix sort; reads the bit rows, which need not be symmetric
unmask csr      CSR          the same for directed rows
unmask symmetric CSR         the same, told that the graph is undirected, as all peers assume
numba push      CSR          numpy argsort; a compiled scan in which a taken node strikes out its
                             neighbours
numba pull      CSR          numpy argsort; a compiled scan that looks for a taken neighbour
pyamg           CSR          numpy argsort; relabelling the rows by rank, because its serial
                             routine visits nodes in index order; the routine; relabelling back
pyamg routine   ranked CSR   the routine alone, on a graph relabelled beforehand: not the same
                             problem, shown as its lower bound
networkx        Graph object sorted() and a scan over adjacency (N = 256)
=============== ============ ===================================================================

Peers do not read bits, so for the case "bits" they are handed the CSR of the same graph, and the
conversion is not counted against them.

python benchmarks/bench_independent_set.py
"""

from collections.abc import Callable
from typing import NamedTuple

import networkx
import numba
import numpy as np
import torch
from harness import measure
from pyamg import amg_core
from scipy import sparse
from unmask import arrays, reference

Array = np.ndarray
SIZES = [256, 1024, 4096]
MEAN_DEGREES = [8, 32, 128]
DENSITY = 0.1


class Case(NamedTuple):
    n: int
    mean_degree: float

    @property
    def name(self) -> str:
        return f"independent_set n={self.n} degree={self.mean_degree:.0f}"


class Problem(NamedTuple):
    bits: Array  # int32 [1, n, ceil(n / 32)]
    indptr: Array
    indices: Array
    priority: Array  # float32 [n]


def cases() -> list[Case]:
    return [Case(n, degree) for n in SIZES for degree in [*MEAN_DEGREES, DENSITY * n]]


def make_problem(case: Case, seed: int = 0) -> Problem:
    rng = np.random.default_rng(seed)
    upper = np.triu(rng.random((case.n, case.n)) < case.mean_degree / (case.n - 1), k=1)
    graph = sparse.csr_matrix(upper | upper.T)
    bits = reference.pack_bits(torch.from_numpy(graph.toarray()).unsqueeze(0)).numpy()
    priority = rng.permutation(case.n).astype(np.float32) / np.float32(case.n)
    return Problem(bits, graph.indptr, graph.indices, priority)


@numba.njit(cache=False)
def push(indptr: Array, indices: Array, order: Array) -> Array:
    excluded = np.zeros(len(order), dtype=np.bool_)
    taken = np.zeros(len(order), dtype=np.bool_)
    for i in order:
        if excluded[i]:
            continue
        taken[i] = True
        for e in range(indptr[i], indptr[i + 1]):
            excluded[indices[e]] = True
    return taken


@numba.njit(cache=False)
def pull(indptr: Array, indices: Array, order: Array) -> Array:
    taken = np.zeros(len(order), dtype=np.bool_)
    for i in order:
        for e in range(indptr[i], indptr[i + 1]):
            if taken[indices[e]]:
                break
        else:
            taken[i] = True
    return taken


def relabel(problem: Problem, order: Array) -> tuple[Array, Array]:
    """The rows in the order of `order`, with columns renamed to ranks."""
    rank = np.empty(len(order), dtype=np.int32)
    rank[order] = np.arange(len(order), dtype=np.int32)
    graph = sparse.csr_matrix(
        (np.ones(len(problem.indices), np.int8), problem.indices, problem.indptr)
    )
    rows = graph[order]
    return rows.indptr, rank[rows.indices]


def pyamg_routine(indptr: Array, indices: Array) -> Array:
    state = np.full(len(indptr) - 1, -1, dtype=np.int32)
    amg_core.maximal_independent_set_serial(len(state), indptr, indices, -1, 1, 0, state)
    return state == 1


def pyamg(problem: Problem) -> Array:
    order = np.argsort(-problem.priority)
    taken = np.empty(len(order), dtype=np.bool_)
    taken[order] = pyamg_routine(*relabel(problem, order))
    return taken


def networkx_scan(graph: networkx.Graph, priority: Array) -> set[int]:
    taken: set[int] = set()
    for node in sorted(graph, key=lambda i: -priority[i]):
        if taken.isdisjoint(graph[node]):
            taken.add(node)
    return taken


def contestants(problem: Problem) -> dict[str, Callable[[], Array]]:
    bits, indptr, indices, priority = problem
    batched = priority[None]
    return {
        "unmask": lambda: arrays.independent_set(bits, batched)[0],
        "unmask csr": lambda: arrays.independent_set_csr(indptr, indices, priority),
        "unmask symmetric": lambda: arrays.independent_set_csr(
            indptr, indices, priority, symmetric=True
        ),
        "numba push": lambda: push(indptr, indices, np.argsort(-priority)),
        "numba pull": lambda: pull(indptr, indices, np.argsort(-priority)),
        "pyamg": lambda: pyamg(problem),
    }


def run(case: Case) -> dict[str, object]:
    """Median seconds per call and interquartile range of everyone, and who beats whom."""
    problem = make_problem(case)
    calls = contestants(problem)
    expected = calls["unmask"]()
    for name, call in calls.items():
        assert np.array_equal(call(), expected), f"{name} returns another set"

    order = np.argsort(-problem.priority)
    ranked = relabel(problem, order)
    assert np.array_equal(pyamg_routine(*ranked), expected[order])
    calls["pyamg routine"] = lambda: pyamg_routine(*ranked)
    if case.n == min(SIZES):
        graph = networkx.from_scipy_sparse_array(
            sparse.csr_array((np.ones(len(problem.indices)), problem.indices, problem.indptr))
        )
        assert networkx_scan(graph, problem.priority) == set(np.flatnonzero(expected).tolist())
        calls["networkx"] = lambda: networkx_scan(graph, problem.priority)

    timings = {name: measure(call) for name, call in calls.items()}
    best = min(timings[name].median for name in ["numba push", "numba pull", "pyamg"])
    return {
        "name": case.name,
        "selected": int(expected.sum()),
        "median": {name: timing.median for name, timing in timings.items()},
        "iqr": {name: timing.iqr for name, timing in timings.items()},
        "ratio": {
            name: best / timings[name].median
            for name in ["unmask", "unmask csr", "unmask symmetric"]
        },
    }


def main() -> None:
    torch.set_num_threads(1)
    for case in cases():
        result = run(case)
        print(f"{result['name']}, {result['selected']} selected")
        for name, median in result["median"].items():
            ratio = result["ratio"].get(name)
            told = f"  {ratio:5.2f}x the best peer" if ratio else ""
            print(f"  {name:17} {median * 1e6:8.1f} us ± {result['iqr'][name] * 1e6:6.1f}{told}")


if __name__ == "__main__":
    main()
