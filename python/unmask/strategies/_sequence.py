"""From nodes to positions and back."""

import torch
from torch import Tensor


def on_device(number: int | Tensor, device: torch.device) -> Tensor:
    """A whole number as int64 [1] on the device; filled there, because a copy would wait."""
    if isinstance(number, Tensor):
        return number.to(device=device, dtype=torch.int64).reshape(1)
    return torch.full((1,), number, dtype=torch.int64, device=device)


def scatter_nodes(values: Tensor, positions: Tensor, length: int, fill: float = 0) -> Tensor:
    """values [B, N] of nodes at their positions: [B, length], `fill` where there is no node."""
    nowhere = values.new_full((len(values), length + 1), fill)  # one column more, for the padding
    at = positions.long().remainder(length + 1)  # -1 becomes `length`
    return nowhere.scatter(1, at, values)[:, :length]


def gather_nodes(values: Tensor, positions: Tensor) -> Tensor:
    """values [B, L] at the positions of nodes: [B, N]; padding reads position 0."""
    return values.gather(1, positions.long().clamp(min=0))
