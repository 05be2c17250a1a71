"""Undirected random graphs, and what else finds their greedy independent set on one thread.

Every peer gets compressed sparse rows and the priorities, does its own ordering inside the time
that is measured, and returns the identical set:

- ``numba push``: numpy argsort, then a compiled scan in which a taken node strikes out its row;
- ``numba pull``: numpy argsort, then a compiled scan that looks for a taken node in each row;
- ``pyamg``: numpy argsort, the rows relabelled by rank (its serial routine visits nodes in index
  order), the routine, and the answer labelled back;
- ``pyamg, given ranks``: the routine alone on rows relabelled beforehand. An easier problem, shown
  as the lower bound that no ordering could beat;
- ``networkx``: sorted() and a scan over adjacency; small graphs only.

Priorities are distinct, so that numpy's fastest argsort is right.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import networkx
import numba
import numpy
import scipy.sparse
from pyamg import amg_core

Array = numpy.ndarray[Any, Any]
MOST_NODES_FOR_NETWORKX = 256


class Case(NamedTuple):
    nodes: int
    degree: float

    def __str__(self) -> str:
        return f"N={self.nodes} mean degree {self.degree:.0f}"


class Problem(NamedTuple):
    indptr: Array  # int32 [N + 1]
    indices: Array  # int32 [E], ascending within a row
    priority: Array  # float32 [N]


def problem_of(case: Case, seed: int = 0) -> Problem:
    rng = numpy.random.default_rng(seed)
    ends = rng.integers(0, case.nodes, (2, round(case.nodes * case.degree / 2)))
    ends = ends[:, ends[0] != ends[1]]
    sources, targets = numpy.hstack([ends, ends[::-1]])
    shape = (case.nodes, case.nodes)
    graph = scipy.sparse.csr_matrix((numpy.ones(len(sources)), (sources, targets)), shape)
    graph.sort_indices()
    priority = rng.permutation(case.nodes).astype(numpy.float32) / numpy.float32(case.nodes)
    return Problem(graph.indptr, graph.indices, priority)


def peers(problem: Problem) -> dict[str, Callable[[], Array]]:
    indptr, indices, priority = problem
    ranked = relabelled(problem, numpy.argsort(-priority))
    contestants = {
        "numba push": lambda: push(indptr, indices, numpy.argsort(-priority)),
        "numba pull": lambda: pull(indptr, indices, numpy.argsort(-priority)),
        "pyamg": lambda: pyamg(problem),
        "pyamg, given ranks": lambda: pyamg_by_rank(*ranked),
    }
    if len(priority) <= MOST_NODES_FOR_NETWORKX:
        graph = networkx.from_scipy_sparse_array(matrix(problem))
        contestants["networkx"] = lambda: networkx_scan(graph, priority)
    return contestants


def check(contestants: dict[str, Callable[[], Array]], problem: Problem, expected: Array) -> None:
    """Everyone returns this set, or nothing is timed."""
    order = numpy.argsort(-problem.priority)
    for name, contestant in contestants.items():
        wanted = expected[order] if name == "pyamg, given ranks" else expected
        assert numpy.array_equal(numpy.ravel(contestant()), wanted), f"{name} returns another set"


@numba.njit
def push(indptr: Any, indices: Any, order: Any) -> Any:
    excluded = numpy.zeros(len(order), numpy.bool_)
    taken = numpy.zeros(len(order), numpy.bool_)
    for i in order:
        if excluded[i]:
            continue
        taken[i] = True
        for e in range(indptr[i], indptr[i + 1]):
            excluded[indices[e]] = True
    return taken


@numba.njit
def pull(indptr: Any, indices: Any, order: Any) -> Any:
    taken = numpy.zeros(len(order), numpy.bool_)
    for i in order:
        free = True
        for e in range(indptr[i], indptr[i + 1]):
            if taken[indices[e]]:
                free = False
                break
        taken[i] = free
    return taken


def matrix(problem: Problem) -> scipy.sparse.csr_array:
    ones = numpy.ones(len(problem.indices), numpy.int8)
    return scipy.sparse.csr_array((ones, problem.indices, problem.indptr))


def relabelled(problem: Problem, order: Array) -> tuple[Array, Array]:
    """The rows in this order, their columns renamed to ranks."""
    rank = numpy.empty(len(order), numpy.int32)
    rank[order] = numpy.arange(len(order), dtype=numpy.int32)
    rows = matrix(problem)[order]
    return rows.indptr, rank[rows.indices]


def pyamg(problem: Problem) -> Array:
    order = numpy.argsort(-problem.priority)
    taken = numpy.empty(len(order), numpy.bool_)
    taken[order] = pyamg_by_rank(*relabelled(problem, order))
    return taken


def pyamg_by_rank(indptr: Array, indices: Array) -> Array:
    undecided, taken, excluded = -1, 1, 0
    state = numpy.full(len(indptr) - 1, undecided, numpy.int32)
    amg_core.maximal_independent_set_serial(
        len(state), indptr, indices, undecided, taken, excluded, state
    )
    return state == taken


def networkx_scan(graph: networkx.Graph, priority: Array) -> Array:
    taken: set[int] = set()
    for node in sorted(graph, key=lambda i: -priority[i]):
        if taken.isdisjoint(graph[node]):
            taken.add(node)
    return numpy.isin(numpy.arange(len(priority)), list(taken))
