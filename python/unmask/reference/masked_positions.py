"""Masked positions, one sequence at a time."""

import torch
from torch import Tensor


def masked_positions(
    tokens: Tensor,
    mask_id: int,
    *,
    start: int | Tensor = 0,
    stop: int | Tensor | None = None,
    capacity: int | None = None,
) -> Tensor:
    """tokens: [B, L] -> [B, N] int32, ascending, padded with -1."""
    batch, length = tokens.shape
    first, last = start, length if stop is None else stop
    if capacity is None:
        by_number = isinstance(first, int) and isinstance(last, int)
        capacity = int(last) - int(first) if by_number else length
    starts = torch.as_tensor(first).expand(batch).tolist()
    stops = torch.as_tensor(last).expand(batch).tolist()

    positions = torch.full((batch, capacity), -1, dtype=torch.int32, device=tokens.device)
    for b in range(batch):
        inside = range(max(starts[b], 0), min(stops[b], length))
        found = [p for p in inside if tokens[b, p] == mask_id][:capacity]
        positions[b, : len(found)] = torch.tensor(found, dtype=torch.int32)
    return positions
