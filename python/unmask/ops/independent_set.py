"""A maximal independent set of each conflict graph."""

import torch
from torch import Tensor

from unmask.ops._arguments import dense, maybe_dense


def independent_set(
    conflict: Tensor, priority: Tensor, *, eligible: Tensor | None = None
) -> Tensor:
    """Choose nodes that may be revealed together: a maximal independent set, greedily.

    Visits the eligible nodes in descending priority (ties to the lower index, NaN last) and takes
    a node unless its row has the bit of one already taken.

    Args:
        conflict: [B, N, ceil(N / 32)] int32. Bit ``j % 32`` of word ``j // 32`` in row i is set
            when node j, once taken, excludes node i. It need not be symmetric.
        priority: [B, N] float32.
        eligible: [B, N] bool, who may be taken; default: everyone.

    Returns:
        [B, N] bool.

    Raises:
        ValueError: a shape, dtype, device or stride is not as above.
        NotImplementedError: N > 8192.

    Source: the sequential greedy scan of DAPD (arXiv 2603.12996); for its parallel form Blelloch,
    Fineman and Shun, SPAA 2012.

    Example:
        >>> conflict = torch.tensor([[[0b010], [0b101], [0b010]]], dtype=torch.int32)
        >>> independent_set(conflict, torch.tensor([[3.0, 2.0, 1.0]])).tolist()
        [[True, False, True]]
    """
    return torch.ops.unmask.independent_set(
        dense(conflict), dense(priority), eligible=maybe_dense(eligible)
    )


@torch.library.register_fake("unmask::independent_set")
def _(conflict: Tensor, priority: Tensor, eligible: Tensor | None = None) -> Tensor:
    return torch.empty_like(priority, dtype=torch.bool)
