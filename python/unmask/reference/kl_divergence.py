"""Kullback-Leibler divergence in float64, one row at a time."""

import torch
from torch import Tensor

from unmask.reference.logit_rows import NEVER, rows_of_nodes, usable


def kl_divergence(
    logits: Tensor,
    previous: Tensor,
    positions: Tensor | None = None,
    *,
    logit_scale: float = 1.0,
    row_shift: int = 0,
    row_offset: int = 0,
) -> Tensor:
    """Return [B, N] float64: sum p (log p - log q) over the tokens that are possible now."""
    batch, length, _ = logits.shape
    nodes = length if positions is None else positions.shape[1]
    divergence = torch.zeros(batch, nodes, dtype=torch.float64)
    for b, n, _, source in rows_of_nodes(logits, positions, row_shift, row_offset):
        now, before = usable(logits[b, source]), usable(previous[b, source])
        possible = now > NEVER
        if not possible.any() or (before[possible] == NEVER).any():
            divergence[b, n] = float("inf")
            continue
        log_p = torch.log_softmax(now * logit_scale, 0)[possible]
        log_q = torch.log_softmax(before * logit_scale, 0)[possible]
        divergence[b, n] = (log_p.exp() * (log_p - log_q)).sum()
    return divergence
