"""DAPD's selection from a finished graph, against the scan as scripts write it: candidates one
after the other in torch, each asking on the host whether one already taken excludes it."""

from typing import Any, NamedTuple

import harness
import torch
from torch import Tensor
from unmask import dapd_select, dependency_graph
from unmask.reference import unpack_bits

OPERATOR = "dapd_select"


class Case(NamedTuple):
    batch: int
    nodes: int

    def __str__(self) -> str:
        return f"B={self.batch} N={self.nodes}"


def cases() -> list[Case]:
    return [Case(1, 64), Case(1, 256), Case(8, 256)]


def scan(excludes: Tensor, key: Tensor) -> Tensor:
    """excludes: [B, N, N] bool, key: [B, N] -> [B, N] bool."""
    selected = torch.zeros_like(key, dtype=torch.bool)
    for rows, keys, chosen in zip(excludes, key, selected, strict=True):
        for i in keys.argsort(descending=True, stable=True).tolist():
            if not (rows[i] & chosen).any():
                chosen[i] = True
    return selected


def run(case: Case) -> dict[str, Any]:
    rng = torch.Generator().manual_seed(0)
    scores = torch.randn(case.batch, case.nodes, case.nodes, generator=rng).mul(2).softmax(-1)
    positions = torch.arange(case.nodes, dtype=torch.int32).repeat(case.batch, 1)
    graph = dependency_graph(scores, positions, 0.1)
    confidence = torch.rand(case.batch, case.nodes, generator=rng)
    token = torch.zeros(case.batch, case.nodes, dtype=torch.int64)
    left = torch.full((case.batch,), case.nodes, dtype=torch.int32)

    excludes = unpack_bits(graph.conflict, case.nodes)
    key = graph.degree * confidence

    def ours() -> Tensor:
        return dapd_select(confidence, token, graph.conflict, graph.degree, left, left)

    assert torch.equal(ours(), scan(excludes, key))
    return harness.result(
        OPERATOR, str(case), {"unmask": ours, "torch scan": lambda: scan(excludes, key)}
    )
