"""Reveal: write the chosen tokens into the sequence."""

import torch
from torch import Tensor

from unmask.ops._arguments import dense


def commit_(tokens: Tensor, positions: Tensor, token: Tensor, selected: Tensor) -> Tensor:
    """Write ``token[b, n]`` at ``tokens[b, positions[b, n]]`` where ``selected[b, n]``, in place.

    Padding (position -1) and nodes without a token (token < 0) are never written.

    Args:
        tokens: [B, L] int64 or int32, any row stride; written in place.
        positions: [B, N] int32, distinct within a row, padded with -1.
        token: [B, N] int64.
        selected: [B, N] bool.

    Returns:
        [B] int32, how many tokens were written.

    Raises:
        ValueError: a shape, dtype, device or stride is not as above; on the CPU also a position
            outside [-1, L), before anything is written. On CUDA such a position is padding.

    Example:
        >>> tokens = torch.tensor([[7, 0, 0]])
        >>> positions = torch.tensor([[1, 2]], dtype=torch.int32)
        >>> commit_(tokens, positions, torch.tensor([[5, 6]]), torch.tensor([[False, True]]))
        tensor([1], dtype=torch.int32)
        >>> tokens.tolist()
        [[7, 0, 6]]
    """
    return torch.ops.unmask.commit_(tokens, dense(positions), dense(token), dense(selected))


@torch.library.register_fake("unmask::commit_")
def _(tokens: Tensor, positions: Tensor, token: Tensor, selected: Tensor) -> Tensor:
    return tokens.new_empty(tokens.shape[0], dtype=torch.int32)
