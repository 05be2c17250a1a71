"""Rows of logits that break careless code, as [B, L, V] tensors."""

import torch
from torch import Tensor

INF, NAN = float("inf"), float("nan")


def random_logits(*shape: int, rng: torch.Generator, spread: float = 3.0) -> Tensor:
    return torch.randn(*shape, generator=rng, device=rng.device) * spread


def awkward_rows(vocab: int, rng: torch.Generator) -> Tensor:
    """[1, 12, vocab], vocab >= 4: ties, order, scale, and everything that is not finite."""
    ramp = torch.linspace(-20, 20, vocab, device=rng.device)
    noise = random_logits(vocab, rng=rng)
    sparse = torch.full_like(noise, -INF)
    sparse[vocab // 2] = -3.0
    holes = noise.clone()
    holes[::2] = -INF
    holes[1::3] = NAN
    certain = noise.clone()
    certain[vocab // 3 :: 2] = INF
    lowest = noise.clone()
    lowest[: vocab // 2] = torch.finfo(torch.bfloat16).min
    decided = torch.full_like(noise, -18.0)
    decided[vocab - 1] = 12.0
    rows = [
        torch.zeros_like(noise),  # all equal
        torch.where(torch.arange(vocab, device=rng.device) % 2 == 0, 0.0, -0.0),
        ramp,
        ramp.flip(0),
        noise.round(),  # many ties
        noise + 2.0**14,  # far from zero
        sparse,  # one usable logit
        holes,
        certain,  # several +inf
        lowest,
        decided,  # entropy near 0
        torch.full_like(noise, NAN),  # nothing usable
    ]
    return torch.stack(rows).unsqueeze(0)
