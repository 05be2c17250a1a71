"""Sets of nodes as bits, the layout of every conflict row."""

import torch
from torch import Tensor


def pack_bits(flags: Tensor) -> Tensor:
    """[..., N] bool -> [..., ceil(N / 32)] int32; flag j becomes bit j % 32 of word j // 32."""
    padded = torch.nn.functional.pad(flags, (0, -flags.shape[-1] % 32))
    words = padded.view(*flags.shape[:-1], -1, 32).int()
    bits = torch.arange(32, dtype=torch.int32, device=flags.device)
    return (words << bits).sum(-1, dtype=torch.int32)
