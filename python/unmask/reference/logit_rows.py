"""Which row of the logits each node reads, and what counts in it."""

from collections.abc import Iterator

import torch
from torch import Tensor

NEVER = -float("inf")


def rows_of_nodes(
    logits: Tensor, positions: Tensor | None, row_shift: int, row_offset: int
) -> Iterator[tuple[int, int, int, int]]:
    """Yield (b, n, position, row) of each node that exists."""
    batch, length, _ = logits.shape
    if positions is None:
        positions = (torch.arange(length) + row_offset).expand(batch, length)
    for b, row in enumerate(positions.tolist()):
        for n, position in enumerate(row):
            if position >= 0:
                yield b, n, position, max(position - row_shift - row_offset, 0)


def usable(row: Tensor) -> Tensor:
    """[V] logits -> the same in float64, where NaN never wins; of several +inf the first stays."""
    row = row.double().nan_to_num(nan=NEVER, posinf=float("inf"), neginf=NEVER)
    certain = row == float("inf")
    if certain.any():
        row = torch.full_like(row, NEVER)
        row[certain.int().argmax()] = 0.0
    return row
