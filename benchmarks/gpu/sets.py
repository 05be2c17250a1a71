"""independent_set: batches of graphs as conflict bits."""

from typing import Any, NamedTuple

import torch
from torch import Tensor
from unmask import independent_set, reference

from gpu import bench as b
from gpu import peers_torch, timing
from gpu.bench import Bench, Contestant
from gpu.cases import Sets


class Graphs(NamedTuple):
    conflict: Tensor
    priority: Tensor
    edges: Tensor | None  # bool [B, N, N], for the first set only


def run(bench: Bench, case: Sets) -> dict[str, Any]:
    torch.set_num_threads(1)  # a core against a card
    first = graphs(bench, case, seed=0)
    assert first.edges is not None
    found = independent_set(first.conflict, first.priority)
    on_cpu = (first.conflict.cpu(), first.priority.cpu())
    expected = independent_set(*on_cpu)
    b.require_equal("the set of the CPU", found.cpu(), expected)
    if bench.tiny:
        b.require_equal("the scan's set", found, reference.independent_set(*on_cpu))

    before = peers_torch.ranked_edges(first.edges, first.priority)
    rounds = peers_torch.rounds_needed(before)
    count = timing.input_sets(case.bytes, bench.cold_bytes)
    sets = [first._replace(edges=None)]
    sets += [graphs(bench, case, seed)._replace(edges=None) for seed in range(1, min(count, 12))]
    selected = int(expected.sum()) / case.batch

    result = b.race(
        bench,
        case,
        lambda x: independent_set(x.conflict, x.priority),
        # Handed the ranked matrix and told how many rounds: a bound on what it could do.
        {"torch, dense rounds": Contestant(lambda _: peers_torch.dense_rounds(before, rounds))},
        sets,
        bytes_per_set=case.bytes,
        agrees=lambda name, answer: b.require_equal(name, answer, found),
        rounds=rounds,
        selected=selected,
    )
    result["peers"]["unmask, one core"] = timing.measure(
        lambda x: independent_set(*x), [on_cpu], timing.Cpu(), graph=False, patience_s=0.1
    ).as_dict()
    return result | case._asdict()


def graphs(bench: Bench, case: Sets, seed: int) -> Graphs:
    rng = bench.generator(seed)
    shape = (case.batch, case.nodes, case.nodes)
    density = case.degree / (case.nodes - 1) / 2  # either direction makes an edge
    edges = torch.rand(shape, generator=rng, device=bench.device) < density
    edges |= edges.mT.clone()
    edges.diagonal(dim1=1, dim2=2).zero_()
    priority = torch.rand(case.batch, case.nodes, generator=rng, device=bench.device)
    return Graphs(packed(edges), priority, edges)


def packed(edges: Tensor) -> Tensor:
    """Graph by graph: the bits of 132 large ones are made from 64-bit numbers."""
    return torch.stack([reference.pack_bits(one[None])[0] for one in edges])
