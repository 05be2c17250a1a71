"""How far each masked position's distribution moved since the previous forward pass."""

import torch
from torch import Tensor

from unmask.ops._arguments import maybe_dense


def kl_divergence(
    logits: Tensor,
    previous: Tensor,
    positions: Tensor | None = None,
    *,
    logit_scale: float = 1.0,
    row_shift: int = 0,
    row_offset: int = 0,
) -> Tensor:
    """KL(softmax(logit_scale * logits) || softmax(logit_scale * previous)) per node, in nats.

    One read of both rows and no temporary of their size. Within 1e-5 relative of float64 plus an
    absolute 1e-6, what float32 terms of both signs leave.

    Args:
        logits: [B, L, V] float32, bfloat16 or float16, V at most 2**20; unit stride over V, any
            other strides.
        previous: the pass before: same shape and dtype.
        positions: [B, N] int32, padded with -1; default: one node per row.
        logit_scale: above 0.
        row_shift: position p reads row ``max(p - row_shift - row_offset, 0)``.
        row_offset: the position that the first row stands for.

    Returns:
        [B, N] float32. 0 for padding; +inf where a token that is possible now was impossible
        before, and for rows without a usable logit, which are never stable.

    Raises:
        ValueError: a shape, dtype, device, stride or number is not as above; on CPU also a
            position without a row.
        NotImplementedError: V > 2**20.

    Source: the stability test of KLASS (arXiv 2511.05664).

    Example:
        >>> logits = torch.tensor([[[0.0, 1.0]]])
        >>> round(kl_divergence(logits, torch.zeros(1, 1, 2)).item(), 4)
        0.1109
    """
    return torch.ops.unmask.kl_divergence(
        logits,
        previous,
        maybe_dense(positions),
        logit_scale=logit_scale,
        row_shift=row_shift,
        row_offset=row_offset,
    )


@torch.library.register_fake("unmask::kl_divergence")
def _(
    logits: Tensor,
    previous: Tensor,
    positions: Tensor | None = None,
    *,
    logit_scale: float = 1.0,
    row_shift: int = 0,
    row_offset: int = 0,
) -> Tensor:
    nodes = logits[..., 0] if positions is None else positions
    return logits.new_empty(nodes.shape, dtype=torch.float32)
