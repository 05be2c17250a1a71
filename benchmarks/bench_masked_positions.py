"""Where the masks are, padded to one shape, against torch: a sort, which keeps the shape static,
and nonzero, which makes the host wait for a size."""

from typing import Any, NamedTuple

import harness
import torch
from torch import Tensor
from unmask import masked_positions

OPERATOR = "masked_positions"
MASK = 126336


class Case(NamedTuple):
    batch: int
    length: int

    def __str__(self) -> str:
        return f"B={self.batch} L={self.length} half masked"


def cases() -> list[Case]:
    return [Case(1, 1024), Case(32, 1024), Case(8, 8192)]


def by_sorting(tokens: Tensor) -> Tensor:
    length = tokens.shape[1]
    at = torch.arange(length, dtype=torch.int32)
    first = torch.where(tokens == MASK, at, length).sort(-1).values
    return first.masked_fill_(first == length, -1)


def by_nonzero(tokens: Tensor) -> Tensor:
    batch, length = tokens.shape
    row, position = (tokens == MASK).nonzero(as_tuple=True)
    count = torch.bincount(row, minlength=batch)
    slot = torch.arange(len(row)) - (count.cumsum(0) - count)[row]
    positions = torch.full((batch, length), -1, dtype=torch.int32)
    positions[row, slot] = position.int()
    return positions


def run(case: Case) -> dict[str, Any]:
    rng = torch.Generator().manual_seed(0)
    tokens = torch.randint(0, 1000, (case.batch, case.length), generator=rng)
    tokens[torch.rand(tokens.shape, generator=rng) < 0.5] = MASK

    expected = masked_positions(tokens, MASK)
    assert torch.equal(by_sorting(tokens), expected)
    assert torch.equal(by_nonzero(tokens), expected)

    return harness.result(
        OPERATOR,
        str(case),
        {
            "unmask": lambda: masked_positions(tokens, MASK),
            "torch sort": lambda: by_sorting(tokens),
            "torch nonzero": lambda: by_nonzero(tokens),
        },
    )
