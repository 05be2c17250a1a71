"""Conflict bits and degrees of DAPD's graph against the same formulas in torch, bits packed."""

from typing import Any, NamedTuple

import harness
import torch
from torch import Tensor
from unmask import dependency_graph, reference
from unmask.reference import pack_bits

OPERATOR = "dependency_graph"
TAU = 0.3


class Case(NamedTuple):
    nodes: int

    def __str__(self) -> str:
        return f"B=1 N={self.nodes} rowmax"


def cases() -> list[Case]:
    return [Case(256), Case(1024), Case(4096)]


def in_torch(scores: Tensor) -> tuple[Tensor, Tensor]:
    """[1, N, N] float32, every node existing."""
    dependency = (scores + scores.mT) / 2
    dependency.diagonal(dim1=1, dim2=2).zero_()
    limit = TAU * dependency.amax(-1, keepdim=True).clamp(min=1e-8)
    return pack_bits(dependency > limit), dependency.sum(-1)


def run(case: Case) -> dict[str, Any]:
    rng = torch.Generator().manual_seed(0)
    scores = torch.randn(1, case.nodes, case.nodes, generator=rng).softmax(-1)
    positions = torch.arange(case.nodes, dtype=torch.int32).unsqueeze(0)
    compiled = torch.compile(in_torch)

    bits, degree = reference.dependency_graph(scores, positions, TAU)
    graph = dependency_graph(scores, positions, TAU)
    for conflict, sums in (graph, in_torch(scores), compiled(scores)):
        # A score within a rounding of its threshold may fall on either side in float64.
        assert (conflict != bits).float().mean() < 1e-3
        torch.testing.assert_close(sums.double(), degree, rtol=1e-5, atol=0)

    return harness.result(
        OPERATOR,
        str(case),
        {
            "unmask": lambda: dependency_graph(scores, positions, TAU),
            "torch": lambda: in_torch(scores),
            "torch.compile": lambda: compiled(scores),
        },
        bytes=4 * case.nodes**2,
    )
