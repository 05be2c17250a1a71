"""The greedy set from sparse rows and priorities: the same input for everyone.

"unmask" is told that the graph is undirected, as all peers of graph_peers.py but "numba pull"
assume; "unmask, directed" is not told, and like "numba pull" must look into the row of every node.
"""

from typing import Any

import graph_peers
import harness
import torch
from graph_peers import Case
from unmask import arrays, reference

OPERATOR = "independent_set_csr"
DENSITY = 0.1


def cases() -> list[Case]:
    small = [
        Case(nodes, degree)
        for nodes in (256, 1024, 4096)
        for degree in (8, 32, 128, DENSITY * nodes)
    ]
    return [*small, Case(100_000, 8)]


def run(case: Case) -> dict[str, Any]:
    problem = graph_peers.problem_of(case)
    expected = reference.independent_set_csr(*(torch.from_numpy(part) for part in problem)).numpy()
    contestants = {
        "unmask": lambda: arrays.independent_set_csr(*problem, symmetric=True),
        "unmask, directed": lambda: arrays.independent_set_csr(*problem),
        **graph_peers.peers(problem),
    }
    graph_peers.check(contestants, problem, expected)
    return harness.result(OPERATOR, str(case), contestants, selected=int(expected.sum()))
