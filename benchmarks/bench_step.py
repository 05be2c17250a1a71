"""One whole decoding step, fused, against the operators one by one and against a step as decoding
scripts write it: float64 softmax of all rows, argmax, sort, and the rule on the host."""

from typing import Any, NamedTuple

import harness
import torch
from torch import Tensor
from unmask import dapd_step_, reference, threshold_step_

OPERATOR = "step"
MASK = 126336
THRESHOLD = 0.9
TAU = 0.1


class Case(NamedTuple):
    rule: str
    length: int
    vocab: int

    def __str__(self) -> str:
        return f"{self.rule} B=1 L={self.length} N={self.length // 2} V={self.vocab}"


def cases() -> list[Case]:
    return [Case("threshold", 128, 126464), Case("DAPD", 128, 126464)]


def best_of_every_row(logits: Tensor) -> tuple[Tensor, Tensor]:
    token = logits.argmax(-1)
    probs = torch.softmax(logits.double(), -1)
    return token, probs.gather(-1, token.unsqueeze(-1)).squeeze(-1)


def threshold_script(tokens: Tensor, logits: Tensor) -> None:
    masked = tokens == MASK
    token, confidence = best_of_every_row(logits)
    confidence = confidence.masked_fill(~masked, float("-inf"))
    for row, sure in enumerate(confidence):
        order = sure.argsort(descending=True)
        count = max(1, int((sure >= THRESHOLD).sum()))
        tokens[row, order[:count]] = token[row, order[:count]]


def dapd_script(tokens: Tensor, logits: Tensor, scores: Tensor) -> None:
    """scores: [B, N, N] between the masked positions of each row."""
    masked = tokens == MASK
    token, confidence = best_of_every_row(logits)
    for row, attention in enumerate(scores):
        node = masked[row].nonzero().flatten()
        dependency = ((attention + attention.T) / 2).fill_diagonal_(0)
        edges = dependency > TAU * dependency.amax(-1, keepdim=True).clamp(min=1e-8)
        key = dependency.sum(-1) * confidence[row, node].float()
        chosen: list[int] = []
        for i in key.argsort(descending=True).tolist():
            if not edges[i, chosen].any():
                chosen.append(i)
        tokens[row, node[chosen]] = token[row, node[chosen]]


def run(case: Case) -> dict[str, Any]:
    rng = torch.Generator().manual_seed(0)
    logits = (torch.randn(1, case.length, case.vocab, generator=rng) * 3).bfloat16()
    logits[:, ::4, 17] += 24  # some positions are sure
    tokens = torch.full((1, case.length), 5)
    tokens[:, ::2] = MASK
    nodes = case.length // 2
    scores = torch.randn(1, nodes, nodes, generator=rng).mul(2).softmax(-1)

    def fused(tokens: Tensor) -> None:
        if case.rule == "DAPD":
            dapd_step_(tokens, logits, scores, mask_id=MASK, tau_min=TAU, tau_max=TAU)
        else:
            threshold_step_(tokens, logits, mask_id=MASK, threshold=THRESHOLD, capacity=nodes)

    def one_by_one(tokens: Tensor) -> None:
        if case.rule == "DAPD":
            reference.dapd_step_(tokens, logits, scores, mask_id=MASK, tau_min=TAU, tau_max=TAU)
        else:
            reference.select_step_(
                tokens, logits, mask_id=MASK, rule="threshold", limit=THRESHOLD, capacity=nodes
            )

    def script(tokens: Tensor) -> None:
        if case.rule == "DAPD":
            dapd_script(tokens, logits, scores)
        else:
            threshold_script(tokens, logits)

    ways = {"unmask": fused, "operators one by one": one_by_one, "script": script}
    results = []
    for way in ways.values():
        copy = tokens.clone()
        way(copy)
        results.append(copy)
    assert all(torch.equal(result, results[0]) for result in results)
    assert not torch.equal(results[0], tokens)
    return harness.result(
        OPERATOR,
        str(case),
        {name: lambda way=way: way(tokens.clone()) for name, way in ways.items()},  # type: ignore[misc]
    )
