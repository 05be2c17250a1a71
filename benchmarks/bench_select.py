"""The rules that look at confidences and entropies, against the same rules in torch (sort, prefix
sums) and, for the factor rule, the loop over rows that decoding scripts run on the host."""

from collections.abc import Callable
from typing import Any, NamedTuple

import harness
import torch
from torch import Tensor
from unmask import select

OPERATOR = "select"
LIMITS = {"threshold": 0.9, "factor": 1.0, "entropy": 0.5}


class Case(NamedTuple):
    rule: str
    batch: int
    nodes: int

    def __str__(self) -> str:
        return f"{self.rule} B={self.batch} N={self.nodes}"


def cases() -> list[Case]:
    return [Case("threshold", 8, 256), Case("factor", 8, 256), Case("entropy", 8, 256)]


def threshold(confidence: Tensor, entropy: Tensor) -> Tensor:
    best = confidence.argmax(-1, keepdim=True)
    return (confidence >= LIMITS["threshold"]).scatter_(1, best, True)


def factor(confidence: Tensor, entropy: Tensor) -> Tensor:
    value, order = confidence.sort(dim=-1, descending=True, stable=True)
    rank = torch.arange(1, confidence.shape[1] + 1)
    fits = (rank + 1) * (1 - value) <= LIMITS["factor"]
    fits[:, 0] = True
    return torch.zeros_like(fits).scatter_(1, order, fits.int().cumprod(-1).bool())


def entropy_bound(confidence: Tensor, entropy: Tensor) -> Tensor:
    value, order = entropy.sort(dim=-1, stable=True)
    fits = value.cumsum(-1) - value.cummax(-1).values <= LIMITS["entropy"]
    return torch.zeros_like(fits).scatter_(1, order, fits)


def factor_by_rows(confidence: Tensor, entropy: Tensor) -> Tensor:
    selected = torch.zeros_like(confidence, dtype=torch.bool)
    for row, chosen in zip(confidence, selected, strict=True):
        value, order = row.sort(dim=-1, descending=True, stable=True)
        count = 1
        while count < len(row) and (count + 2) * (1 - value[count].item()) <= LIMITS["factor"]:
            count += 1
        chosen[order[:count]] = True
    return selected


PEERS: dict[str, dict[str, Callable[[Tensor, Tensor], Tensor]]] = {
    "threshold": {"torch": threshold},
    "factor": {"torch": factor, "loop over rows": factor_by_rows},
    "entropy": {"torch": entropy_bound},
}


def run(case: Case) -> dict[str, Any]:
    rng = torch.Generator().manual_seed(0)
    shape = (case.batch, case.nodes)
    confidence = 1 - 0.3 * torch.rand(shape, generator=rng) ** 3
    entropy = 2 * torch.rand(shape, generator=rng) ** 3
    token = torch.zeros(shape, dtype=torch.int64)

    def ours() -> Tensor:
        return select(confidence, token, case.rule, LIMITS[case.rule], entropy=entropy)

    contestants: dict[str, harness.Contestant] = {"unmask": ours}
    for name, peer in PEERS[case.rule].items():
        assert torch.equal(peer(confidence, entropy), ours()), name
        contestants[name] = lambda peer=peer: peer(confidence, entropy)  # type: ignore[misc]
    return harness.result(OPERATOR, str(case), contestants)
