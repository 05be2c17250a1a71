"""Maximal independent sets against what else can find one.

The scans are unmask's rule in numba and in plain torch, and must give the same set. pyamg and
networkx find some maximal independent set of one undirected graph, by a rule of their own.
"""

from typing import Any, NamedTuple

import harness
import networkx
import numba
import numpy
import scipy.sparse
import torch
from pyamg.graph import maximal_independent_set
from unmask import independent_set, reference
from unmask.reference import pack_bits

OPERATOR = "independent_set"


class Case(NamedTuple):
    batch: int
    nodes: int
    density: float

    def __str__(self) -> str:
        return f"B={self.batch} N={self.nodes} density={self.density}"


def cases() -> list[Case]:
    return [
        Case(batch, nodes, density)
        for batch, nodes in [(1, 64), (1, 256), (8, 256), (1, 1024)]
        for density in (0.02, 0.2)
    ]


@numba.njit
def greedy_scan(edges: Any, order: Any) -> Any:
    batch, nodes = order.shape
    selected = numpy.zeros((batch, nodes), numpy.bool_)
    for b in range(batch):
        for i in order[b]:
            free = True
            for j in range(nodes):
                if edges[b, i, j] and selected[b, j]:
                    free = False
                    break
            selected[b, i] = free
    return selected


def run(case: Case) -> dict[str, Any]:
    rng = torch.Generator().manual_seed(0)
    lower = (torch.rand(case.batch, case.nodes, case.nodes, generator=rng) < case.density).tril(-1)
    edges = lower | lower.mT
    conflict = pack_bits(edges)
    priority = torch.rand(case.batch, case.nodes, generator=rng)

    dense = edges.numpy()
    keys = priority.numpy()
    sparse = [scipy.sparse.csr_matrix(graph, dtype=numpy.float64) for graph in dense]
    graphs = [networkx.from_numpy_array(graph) for graph in dense]

    def in_numba() -> Any:
        return greedy_scan(dense, numpy.argsort(-keys, axis=1, kind="stable"))

    expected = reference.independent_set(conflict, priority)
    assert torch.equal(independent_set(conflict, priority), expected)
    assert numpy.array_equal(in_numba(), expected.numpy())

    return harness.result(
        OPERATOR,
        str(case),
        {
            "unmask": lambda: independent_set(conflict, priority),
            "numba scan": in_numba,
            "torch scan": lambda: reference.independent_set(conflict, priority),
            "pyamg (own rule)": lambda: [maximal_independent_set(graph) for graph in sparse],
            "networkx (own rule)": lambda: [
                networkx.maximal_independent_set(graph, seed=0) for graph in graphs
            ],
        },
        selected=int(expected.sum()),
    )
