"""How far masked positions moved since the last pass, against torch and the formula KLASS uses."""

from typing import Any, NamedTuple

import harness
import torch
from torch import Tensor
from unmask import kl_divergence, reference

OPERATOR = "kl_divergence"


class Case(NamedTuple):
    vocab: int
    rows: int
    dtype: torch.dtype

    def __str__(self) -> str:
        return f"V={self.vocab} {self.rows} rows {str(self.dtype).removeprefix('torch.')}"


def cases() -> list[Case]:
    return [Case(126464, 64, torch.bfloat16), Case(126464, 64, torch.float32)]


def klass(now: Tensor, before: Tensor) -> Tensor:
    p, q = torch.softmax(now.double(), -1), torch.softmax(before.double(), -1)
    return (p * ((p + 1e-12).log() - (q + 1e-12).log())).sum(-1)


def torch_kl_div(now: Tensor, before: Tensor) -> Tensor:
    log_p, log_q = torch.log_softmax(now.float(), -1), torch.log_softmax(before.float(), -1)
    return torch.nn.functional.kl_div(log_q, log_p, reduction="none", log_target=True).sum(-1)


def run(case: Case) -> dict[str, Any]:
    rng = torch.Generator().manual_seed(0)
    now = torch.randn(1, case.rows, case.vocab, generator=rng) * 3
    before = (now + torch.randn(now.shape, generator=rng) * 0.3).to(case.dtype)
    now = now.to(case.dtype)

    expected = reference.kl_divergence(now, before).float()
    torch.testing.assert_close(kl_divergence(now, before), expected, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(klass(now, before).float(), expected, rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(torch_kl_div(now, before), expected, rtol=1e-3, atol=1e-5)

    contestants: dict[str, harness.Contestant] = {
        "unmask": lambda: kl_divergence(now, before),
        "KLASS": lambda: klass(now, before),
        "torch kl_div": lambda: torch_kl_div(now, before),
    }
    return harness.result(
        OPERATOR,
        str(case),
        contestants,
        peak_extra_bytes={who: harness.peak_extra_bytes(run) for who, run in contestants.items()},
        bytes_read=2 * now.numel() * case.dtype.itemsize,
    )
