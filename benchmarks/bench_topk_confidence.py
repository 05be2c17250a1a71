"""Confidence of masked positions against the torch code that decoders ship.

Logits are those of a whole sequence, bfloat16 as models give them; half of the positions are
masked. LLaDA and dInfer soften every row, whole, in float64 and in float32, and want the best token
and its probability only; the others look at masked rows and find the same as unmask.
"""

from typing import Any, NamedTuple

import harness
import torch
from torch import Tensor
from unmask import reference, topk_confidence

OPERATOR = "topk_confidence"
K = 8


class Case(NamedTuple):
    vocab: int
    rows: int
    dtype: torch.dtype
    temperature: float

    def __str__(self) -> str:
        dtype = str(self.dtype).removeprefix("torch.")
        drawn = f" T={self.temperature}" if self.temperature else ""
        return f"V={self.vocab} {self.rows // 2} of {self.rows} rows {dtype}{drawn}"


def cases() -> list[Case]:
    return [
        Case(126464, 128, torch.bfloat16, 0.0),  # LLaDA
        Case(126464, 128, torch.float32, 0.0),
        Case(152064, 32, torch.bfloat16, 0.0),  # Dream
        Case(126464, 128, torch.bfloat16, 1.0),
    ]


def every_row(logits: Tensor, dtype: torch.dtype, temperature: float) -> tuple[Tensor, Tensor]:
    """Best or drawn token and its probability, as LLaDA and dInfer find them."""
    scores = logits
    if temperature:
        wide = logits.to(dtype)
        scores = wide.exp() / (-torch.rand_like(wide).log()) ** temperature
    token = scores.argmax(-1)
    probs = torch.softmax(logits.to(dtype), -1)
    return token, probs.gather(-1, token.unsqueeze(-1)).squeeze(-1)


def masked_rows(logits: Tensor, masked: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Ids and probabilities of the best K, and the log-sum-exp."""
    rows = logits[:, masked].float()
    logsumexp = torch.logsumexp(rows, -1)
    best = rows.topk(K)
    return best.indices, (best.values - logsumexp.unsqueeze(-1)).exp(), logsumexp


@torch.compile(dynamic=False)
def compiled(logits: Tensor, masked: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The same and the entropy, as a user would have it compiled."""
    ids, probs, logsumexp = masked_rows(logits, masked)
    rows = logits[:, masked].float()
    mean = (torch.softmax(rows, -1) * rows).sum(-1)
    return ids, probs, logsumexp, logsumexp - mean


def run(case: Case) -> dict[str, Any]:
    rng = torch.Generator().manual_seed(0)
    logits = (torch.randn(1, case.rows, case.vocab, generator=rng) * 3).to(case.dtype)
    masked = torch.arange(0, case.rows, 2)
    positions = masked.int().unsqueeze(0)

    def ours() -> Any:
        return topk_confidence(logits, positions, k=K, temperature=case.temperature)

    contestants: dict[str, harness.Contestant] = {
        "unmask": ours,
        "LLaDA": lambda: every_row(logits, torch.float64, case.temperature),
        "dInfer": lambda: every_row(logits, torch.float32, case.temperature),
    }
    if not case.temperature:
        contestants["torch"] = lambda: masked_rows(logits, masked)
        contestants["torch.compile"] = lambda: compiled(logits, masked)
    check(ours(), logits, masked, positions, case.temperature)
    return harness.result(
        OPERATOR,
        str(case),
        contestants,
        peak_extra_bytes={who: harness.peak_extra_bytes(run) for who, run in contestants.items()},
        bytes_read=len(masked) * case.vocab * case.dtype.itemsize,
    )


def check(ours: Any, logits: Tensor, masked: Tensor, positions: Tensor, temperature: float) -> None:
    """Everybody agrees, where they answer the same question."""
    _, _, ids, probs, entropy, logsumexp = reference.topk_confidence(logits, positions, k=K)
    assert torch.equal(ours.ids, ids)
    near = torch.testing.assert_close
    near(ours.probs, probs.float(), rtol=1e-5, atol=0)
    near(ours.entropy, entropy.float(), rtol=1e-5, atol=0)
    near(ours.logsumexp, logsumexp.float(), rtol=1e-5, atol=0)
    at_token = torch.softmax(logits[:, masked].double(), -1).gather(-1, ours.token.unsqueeze(-1))
    near(ours.confidence, at_token.squeeze(-1).float(), rtol=1e-5, atol=0)
    if temperature:
        return  # everybody draws from noise of their own
    for dtype in (torch.float64, torch.float32):
        _, confidence = every_row(logits, dtype, temperature)
        near(ours.confidence, confidence[:, masked].float(), rtol=1e-4, atol=0)
    for peer in (masked_rows, compiled):  # topk leaves the order of equal logits open
        near(peer(logits, masked)[1], ours.probs, rtol=1e-4, atol=0)
        near(peer(logits, masked)[2], ours.logsumexp, rtol=1e-4, atol=0)
    near(compiled(logits, masked)[3], ours.entropy, rtol=1e-3, atol=0)
