"""The sequential greedy scan over sparse rows."""

import torch
from torch import Tensor

from unmask.reference.independent_set import visiting_order


def independent_set_csr(
    indptr: Tensor, indices: Tensor, priority: Tensor, *, eligible: Tensor | None = None
) -> Tensor:
    """indptr: [N + 1], indices: [E], priority: [N] -> [N] bool."""
    selected = torch.zeros(len(priority), dtype=torch.bool, device=priority.device)
    for i in visiting_order(priority):
        if eligible is None or eligible[i]:
            excluders = indices[indptr[i] : indptr[i + 1]].long()
            selected[i] = not bool(selected[excluders].any())
    return selected
