"""Sets of nodes as bits, the layout of every conflict row."""

import torch
from torch import Tensor


def pack_bits(flags: Tensor) -> Tensor:
    """[..., n] bool -> [..., ceil(n / 32)] int32; flag j becomes bit j % 32 of word j // 32."""
    n = flags.shape[-1]
    padded = torch.nn.functional.pad(flags, (0, -n % 32)).unflatten(-1, (-1, 32)).long()
    words = (padded << torch.arange(32, device=flags.device)).sum(-1)
    return torch.where(words >= 2**31, words - 2**32, words).int()  # same bits, signed


def unpack_bits(words: Tensor, n: int) -> Tensor:
    """[..., ceil(n / 32)] int32 -> [..., n] bool."""
    bits = words.unsqueeze(-1) >> torch.arange(32, device=words.device)
    return (bits & 1).bool().flatten(-2)[..., :n]
