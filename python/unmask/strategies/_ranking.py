"""Taking so many nodes of each row, the number being known on the device only."""

import torch
from torch import Tensor


def ranks(values: Tensor, token: Tensor) -> Tensor:
    """Place of each node in its row by descending value: int64 [B, N], 0 is first.

    Ties go to the lower node, NaN comes last, and behind it nodes without a token.
    """
    numbers = torch.where(values.isnan(), -torch.inf, values)
    order = numbers.argsort(dim=-1, descending=True, stable=True)
    for later in (values.isnan(), token < 0):
        order = order.gather(-1, later.gather(-1, order).int().argsort(dim=-1, stable=True))
    return order.argsort(dim=-1)


def take_top(values: Tensor, token: Tensor, counts: Tensor) -> Tensor:
    """The `counts` [B] nodes of highest value in each row: bool [B, N]."""
    return (ranks(values, token) < counts.unsqueeze(-1)) & (token >= 0)
