"""The sequential greedy scan, one node at a time."""

import torch
from torch import Tensor

from unmask.reference.bits import unpack_bits


def visiting_order(priority: Tensor) -> list[int]:
    """[n] priorities -> indices in descending order, ties to the lower index, NaN last."""
    values = priority.tolist()
    return sorted(range(len(values)), key=lambda i: (values[i] != values[i], -values[i], i))


def independent_set(conflict: Tensor, priority: Tensor, eligible: Tensor | None = None) -> Tensor:
    """Scan in visiting order: take a node unless its row has the bit of one already taken.

    conflict: [B, N, ceil(N / 32)] int32, priority: [B, N] -> [B, N] bool
    """
    batch, n = priority.shape
    excludes = unpack_bits(conflict, n)
    selected = torch.zeros(batch, n, dtype=torch.bool, device=priority.device)
    for b in range(batch):
        for i in visiting_order(priority[b]):
            if eligible is None or eligible[b, i]:
                selected[b, i] = not bool((excludes[b, i] & selected[b]).any())
    return selected
