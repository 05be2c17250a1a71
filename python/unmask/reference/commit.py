"""Writing tokens, one at a time."""

import torch
from torch import Tensor


def commit_(tokens: Tensor, positions: Tensor, token: Tensor, selected: Tensor) -> Tensor:
    """tokens: [B, L] in and out; the others [B, N] -> [B] int32, how many were written."""
    committed = torch.zeros(tokens.shape[0], dtype=torch.int32, device=tokens.device)
    for b, n in selected.nonzero().tolist():
        if positions[b, n] >= 0 and token[b, n] >= 0:
            tokens[b, positions[b, n]] = token[b, n]
            committed[b] += 1
    return committed
