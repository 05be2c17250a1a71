"""A fused decoding step: its time, its launches, whether the host waits, and where the time goes
when others do the same."""

import sys
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from unmask import (
    commit_,
    dapd_select,
    dapd_step_,
    dependency_graph,
    masked_positions,
    threshold_step_,
    topk_confidence,
)

sys.path.insert(0, str(Path(__file__).parents[1]))
from bench_step import dapd_script, threshold_script

from gpu import bench as b
from gpu import peers_torch, timing
from gpu.bench import Bench, Contestant
from gpu.cases import Step

MASK = 126336  # as in bench_step, whose scripts these are
TAU, THRESHOLD = 0.1, 0.9
SETS = 12  # of tokens; logits are shared among them once they fill the cache


class Inputs(NamedTuple):
    tokens: Tensor
    logits: Tensor
    scores: Tensor


def inputs_of(bench: Bench, case: Step) -> tuple[list[Inputs], Any]:
    """Input sets, and what puts their tokens back as they were."""
    length = 2 * case.nodes
    distinct = timing.input_sets(case.bytes, bench.cold_bytes, most=4)
    logits, scores = [], []
    for seed in range(distinct):
        rows = bench.randn(case.batch, length, case.vocab, dtype=torch.bfloat16, seed=seed).mul_(3)
        rows[:, ::4, 17] += 24  # some positions are sure
        logits.append(rows)
        shape = (case.batch, case.nodes, case.nodes)
        scores.append(bench.randn(*shape, seed=100 + seed).mul_(2).softmax(-1))
    original = torch.full((case.batch, length), 5, device=bench.device)
    original[:, ::2] = MASK
    sets = [
        Inputs(original.clone(), logits[i % distinct], scores[i % distinct])
        for i in range(max(SETS if case.batch == 1 else 2, distinct))
    ]

    def restore() -> None:
        for one in sets:
            one.tokens.copy_(original)

    return sets, restore


def fused(case: Step, x: Inputs) -> Any:
    if case.rule == "DAPD":
        return dapd_step_(x.tokens, x.logits, x.scores, mask_id=MASK, tau_min=TAU, tau_max=TAU)
    return threshold_step_(
        x.tokens, x.logits, mask_id=MASK, threshold=THRESHOLD, capacity=case.nodes
    )


def script(case: Step, x: Inputs) -> None:
    """What decoders ship: float64 softmax of all rows, and the rule on the host."""
    if case.rule == "DAPD":
        dapd_script(x.tokens, x.logits, x.scores)
    else:
        threshold_script(x.tokens, x.logits)


def run(bench: Bench, case: Step) -> dict[str, Any]:
    sets, restore = inputs_of(bench, case)
    first = sets[0]
    with b.poisoned_outputs(bench):
        result = fused(case, first)
    there = Inputs(*(x.cpu() for x in first))._replace(tokens=sets[-1].tokens.cpu().clone())
    expected = fused(case, there)
    for name, ours, cpu in zip(result._fields, result, expected, strict=True):
        b.require_equal(f"{name} of the CPU", ours.cpu(), cpu)
    b.require_equal("tokens of the CPU", first.tokens.cpu(), there.tokens)
    restore()

    contestants = {}
    if case.batch == 1 or bench.tiny:
        contestants["script"] = Contestant(lambda x: script(case, x), graph=False)
    row = b.race(
        bench,
        case,
        lambda x: fused(case, x),
        contestants,
        sets,
        bytes_per_set=case.bytes,
        agrees=lambda name, _: b.require_equal(name, first.tokens.cpu(), there.tokens),
        prepare=restore,
    )
    restore()
    return row | case._asdict() | asked_of_the_device(bench, lambda: fused(case, first))


def asked_of_the_device(bench: Bench, step: Any) -> dict[str, int | None]:
    """Launches and waits of one step that is not captured, as torch's profiler sees them."""
    if bench.tiny:
        return {"launches": None, "host_syncs": None}
    step()
    torch.cuda.synchronize()
    kinds = [torch.profiler.ProfilerActivity.CPU, torch.profiler.ProfilerActivity.CUDA]
    with torch.profiler.profile(activities=kinds) as profile:
        with torch.profiler.record_function("one step"):
            step()
        torch.cuda.synchronize()
    events = profile.events()
    window = next(e.time_range for e in events if e.name == "one step")
    on_device = torch.autograd.DeviceType.CUDA
    launches = [e.name for e in events if e.device_type == on_device and e.name != "one step"]
    asked = [
        e.name
        for e in events
        if e.name.startswith("cu") and window.start <= e.time_range.start <= window.end
    ]
    waits = [name for name in asked if "Synchronize" in name or name == "cudaMemcpy"]
    seen = bool(launches) and bool(asked)
    return {"launches": len(launches) or None, "host_syncs": len(waits) if seen else None}


def stages(bench: Bench, case: Step) -> list[dict[str, Any]]:
    """Seconds of each part of a DAPD step: the operators', the script's, and with Triton."""
    sets, restore = inputs_of(bench, case)
    x = sets[0]
    positions = masked_positions(x.tokens, MASK, capacity=case.nodes)
    best = topk_confidence(x.logits, positions)
    graph = dependency_graph(x.scores, positions, TAU)
    count = torch.full((case.batch,), case.nodes, dtype=torch.int32, device=bench.device)
    rest = (best.confidence, best.token, graph.conflict, graph.degree, count, count)
    selected = dapd_select(*rest)
    edges = (x.scores + x.scores.mT) / 2
    edges = edges > TAU * edges.amax(-1, keepdim=True)
    edges.diagonal(dim1=1, dim2=2).zero_()
    before = peers_torch.ranked_edges(edges, best.confidence)
    rounds = peers_torch.rounds_needed(before)

    def graph_in_torch(_: Any) -> Tensor:
        dependency = (x.scores + x.scores.mT) / 2
        dependency.diagonal(dim1=1, dim2=2).zero_()
        return dependency > TAU * dependency.amax(-1, keepdim=True)

    ours = {
        "positions": lambda _: masked_positions(x.tokens, MASK, capacity=case.nodes),
        "confidence": lambda _: topk_confidence(x.logits, positions),
        "graph": lambda _: dependency_graph(x.scores, positions, TAU),
        "selection": lambda _: dapd_select(*rest),
        "commit": lambda _: commit_(x.tokens, positions, best.token, selected),
    }
    in_torch: dict[str, Any] = {
        "positions": lambda _: x.tokens == MASK,
        "confidence": lambda _: peers_torch.float64_path(x.logits),
        "graph": graph_in_torch,
        "selection": lambda _: peers_torch.dense_rounds(before, rounds),
        "commit": lambda _: x.tokens.scatter_(1, positions.long(), best.token),
    }
    found = [("unmask, one by one", ours), ("torch, float64", in_torch)]
    if bench.triton:
        flat = x.logits.flatten(0, 1), x.tokens.flatten()
        triton = {"confidence": lambda _: bench.triton.post_process(*flat, MASK)}
        found.append(("Triton, then torch", in_torch | triton))
    rows = []
    for who, parts in found:
        timings = {}
        for name, call in parts.items():
            restore()
            options = {"patience_s": bench.patience_s / 3}
            timings[name] = timing.measure(call, [None], bench.stopwatch, **options).median_s
        rows.append({"who": who, "stages": timings})
    return rows
