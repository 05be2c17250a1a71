"""Attention between masked positions against making the whole attention matrix.

LLaDA's heads, one sequence. "all rows" is what a decoder does that takes the model's attention:
softmax of every row of every head, then a gather. "masked rows" leaves the other rows out, and is
compiled by torch; it still holds [heads, masked, length] twice.
"""

from typing import Any, NamedTuple

import harness
import torch
from torch import Tensor
from unmask import attention_scores, reference

OPERATOR = "attention_scores"
HEADS, HEAD_DIM = 32, 128  # LLaDA-8B


class Case(NamedTuple):
    masked: int
    length: int
    dtype: str

    def __str__(self) -> str:
        return f"H={HEADS} D={HEAD_DIM} M={self.masked} L={self.length} {self.dtype}"


def cases() -> list[Case]:
    return [Case(masked, 1024, dtype) for masked in (32, 256) for dtype in ("float32", "bfloat16")]


def all_rows(query: Tensor, key: Tensor, at: Tensor) -> Tensor:
    probs = (query @ key.mT * HEAD_DIM**-0.5).softmax(-1, dtype=torch.float32).mean(1)
    return probs[:, at][:, :, at]


def masked_rows(query: Tensor, key: Tensor, at: Tensor) -> Tensor:
    product = query[:, :, at] @ key.mT * HEAD_DIM**-0.5
    return product.softmax(-1, dtype=torch.float32)[..., at].mean(1)


def run(case: Case) -> dict[str, Any]:
    rng = torch.Generator().manual_seed(0)
    dtype = getattr(torch, case.dtype)
    query, key = (
        torch.randn(1, case.length, HEADS, HEAD_DIM, generator=rng).to(dtype).transpose(1, 2)
        for _ in range(2)
    )
    at = torch.randperm(case.length, generator=rng)[: case.masked].sort().values
    positions = at.int().unsqueeze(0)
    compiled = torch.compile(masked_rows)

    exact = reference.attention_scores(query, key, positions)
    scores = attention_scores(query, key, positions)
    torch.testing.assert_close(scores.double(), exact, rtol=1e-5, atol=0)
    # The peers multiply in the input's type: bfloat16 products are off by up to 2^-9 of some 5.
    tolerance = 1e-5 if case.dtype == "float32" else 0.05
    for peer in (all_rows, compiled):
        torch.testing.assert_close(peer(query, key, at).double(), exact, rtol=tolerance, atol=0)

    return harness.result(
        OPERATOR,
        str(case),
        {
            "unmask": lambda: attention_scores(query, key, positions),
            "torch, all rows": lambda: all_rows(query, key, at),
            "torch.compile, masked rows": lambda: compiled(query, key, at),
        },
        flop=2 * HEADS * case.masked * case.length * HEAD_DIM,
    )
