"""Compiles the peers while nvcc compiles the kernels: what they leave on disk is found later."""

from collections.abc import Iterator
from typing import Any

import torch

from gpu import cases, peers_torch
from gpu.bench import Bench


def jobs(bench: Bench) -> Iterator[tuple[str, Any]]:
    """One compilation each. Nothing of unmask is imported: it may not be built yet."""
    for case in cases.cases_of("topk_confidence", quick=bench.quick, tiny=bench.tiny):
        if case.rows <= 4096 and case.temperature == 0:
            yield f"topk_confidence {case}", lambda case=case: confidence(bench, case)
    for case in cases.cases_of("attention_scores", quick=bench.quick, tiny=bench.tiny):
        if case.given == "lse":
            yield f"attention_scores {case}", lambda case=case: scores(bench, case)


def confidence(bench: Bench, case: cases.TopK) -> None:
    logits = bench.randn(1, case.rows, case.vocab, dtype=getattr(torch, case.dtype))
    function = lambda x: peers_torch.best_and_entropy(x, case.k)  # noqa: E731
    (function if bench.tiny else peers_torch.compiled(function))(logits)
    if bench.triton and case.k == peers_torch.K:
        tokens = torch.zeros(case.rows, dtype=torch.long, device=bench.device)
        bench.triton.post_process(logits[0], tokens, 0)


def scores(bench: Bench, case: cases.Scores) -> None:
    shape = case.length, case.head_dim
    query = bench.randn(case.heads, *shape, dtype=torch.bfloat16)
    key = bench.randn(case.kv_heads, *shape, dtype=torch.bfloat16)
    lse = bench.randn(case.heads, case.length)
    at = torch.arange(case.nodes, device=bench.device)
    function = peers_torch.scores_given_lse
    (function if bench.tiny else peers_torch.compiled(function))(query, key, lse, at)
    if bench.triton:
        out = torch.zeros(case.nodes, case.nodes, device=bench.device)
        bench.triton.pair_scores(query, key, lse, at, out, 1.0)
