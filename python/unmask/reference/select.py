"""Selection rules, one sequence at a time. Floats are float32 where the rule compares them."""

import torch
from torch import Tensor

from unmask.reference.independent_set import visiting_order
from unmask.reference.philox import philox

SELECTION_DOMAIN = 0xFFFFFFFF  # first counter word of selection noise


def most_confident(confidence: Tensor, usable: Tensor) -> list[int]:
    """[n] -> at most one node: what every rule falls back to."""
    return [i for i in visiting_order(confidence) if usable[i]][:1]


def factor_prefix(confidence: Tensor, order: list[int], factor: Tensor) -> list[int]:
    """The first node, then nodes n = 2, 3, ... while (n + 1) * (1 - c_n) <= factor."""
    taken = order[:1]
    for n, node in enumerate(order[1:], start=2):
        if not (n + 1) * (1 - confidence[node]) <= factor:
            break
        taken.append(node)
    return taken


def entropy_prefix(entropy: Tensor, order: list[int], gamma: Tensor) -> list[int]:
    """The first node, then nodes while the sum of entropies minus the largest stays <= gamma."""
    taken = order[:1]
    if not taken:
        return taken
    total = entropy[taken[0]]
    for node in order[1:]:
        total = total + entropy[node]
        if not total - entropy[node] <= gamma:  # the order ascends: the last is the largest
            break
        taken.append(node)
    return taken


def select(
    confidence: Tensor,
    token: Tensor,
    rule: str,
    limit: float,
    *,
    entropy: Tensor | None = None,
    eligible: Tensor | None = None,
    positions: Tensor | None = None,
    seed: int | Tensor = 0,
    step: int = 0,
) -> Tensor:
    """confidence, token, ...: [B, N] -> [B, N] bool."""
    batch, n = confidence.shape
    selected = torch.zeros(batch, n, dtype=torch.bool, device=confidence.device)
    bound = torch.tensor(limit, dtype=torch.float32, device=confidence.device)
    for b in range(batch):
        usable = token[b] >= 0
        judged = usable if eligible is None else usable & eligible[b]

        def in_order(values: Tensor, judged: Tensor = judged) -> list[int]:
            return [i for i in visiting_order(values) if judged[i]]

        if rule == "top":
            taken = in_order(confidence[b])[: int(limit)]
        elif rule == "random":
            places = list(range(n)) if positions is None else positions[b].tolist()
            row, key = (0, int(seed[b])) if isinstance(seed, Tensor) else (b, seed)
            noise = [philox((SELECTION_DOMAIN, place, row, step), key)[0] for place in places]
            taken = in_order(torch.tensor(noise, dtype=torch.float64))[: int(limit)]
        elif rule == "threshold":
            taken = [i for i in in_order(confidence[b]) if confidence[b, i] >= bound]
        elif rule == "factor":
            taken = factor_prefix(confidence[b], in_order(confidence[b]), bound)
        elif rule == "entropy" and entropy is not None:
            taken = entropy_prefix(entropy[b], in_order(-entropy[b]), bound)
        else:
            raise ValueError(f"no such rule, or no entropy for it: {rule}")
        selected[b, taken or most_confident(confidence[b], usable)] = True
    return selected
