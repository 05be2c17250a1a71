"""Writing revealed tokens into their places, against torch: a scatter with a place for what is not
written, and the boolean indexing of decoding scripts, which makes the host wait for a size."""

from typing import Any, NamedTuple

import harness
import torch
from torch import Tensor
from unmask import commit_

OPERATOR = "commit"


class Case(NamedTuple):
    batch: int
    length: int

    def __str__(self) -> str:
        return f"B={self.batch} L={self.length} N={self.length // 2}"


def cases() -> list[Case]:
    return [Case(1, 512), Case(32, 1024)]


def by_scatter(tokens: Tensor, positions: Tensor, token: Tensor, selected: Tensor) -> Tensor:
    length = tokens.shape[1]
    wide = torch.nn.functional.pad(tokens, (0, 1))
    at = torch.where(selected, positions, length).long()
    tokens.copy_(wide.scatter_(1, at, token)[:, :length])
    return selected.sum(-1, dtype=torch.int32)


def by_indexing(tokens: Tensor, positions: Tensor, token: Tensor, selected: Tensor) -> Tensor:
    row = torch.arange(len(tokens)).unsqueeze(1).expand(selected.shape)[selected]
    tokens[row, positions[selected].long()] = token[selected]
    return selected.sum(-1, dtype=torch.int32)


def run(case: Case) -> dict[str, Any]:
    rng = torch.Generator().manual_seed(0)
    tokens = torch.randint(0, 1000, (case.batch, case.length), generator=rng)
    positions = torch.arange(0, case.length, 2, dtype=torch.int32).expand(case.batch, -1)
    positions = positions.contiguous()
    token = torch.randint(0, 1000, positions.shape, generator=rng)
    selected = torch.rand(positions.shape, generator=rng) < 0.1

    written = tokens.clone()
    count = commit_(written, positions, token, selected)
    for peer in (by_scatter, by_indexing):
        copy = tokens.clone()
        assert torch.equal(peer(copy, positions, token, selected), count)
        assert torch.equal(copy, written)

    return harness.result(
        OPERATOR,
        str(case),
        {
            "unmask": lambda: commit_(tokens, positions, token, selected),
            "torch scatter": lambda: by_scatter(tokens, positions, token, selected),
            "torch indexing": lambda: by_indexing(tokens, positions, token, selected),
        },
    )
