"""DAPD's selection: nodes that do not depend on each other, and those that are certain anyway."""

import torch
from torch import Tensor

from unmask.ops._arguments import dense


def dapd_select(
    confidence: Tensor,
    token: Tensor,
    conflict: Tensor,
    degree: Tensor,
    remaining: Tensor,
    gen_length: Tensor,
    *,
    order: str = "degree*confidence",
    precommit: float | None = None,
    late: str | None = None,
    late_threshold: float = 0.9,
    late_progress: float = 0.5,
) -> Tensor:
    """Select a maximal independent set of the dependency graph, scanned from the hubs down.

    Nodes with a token (``token >= 0``) take part. If nobody is selected, the most confident of
    them is.

    Args:
        confidence: [B, N] float32.
        token: [B, N] int64; negative: padding, or nothing to reveal.
        conflict: [B, N, ceil(N / 32)] int32, from :func:`dependency_graph`.
        degree: [B, N] float32, from :func:`dependency_graph`.
        remaining: [B] int32, masks left in the sequence before this step.
        gen_length: [B] int32, masks of the sequence at the start.
        order: what the scan sorts by, descending: ``"degree*confidence"`` (a float32 product),
            ``"degree"`` or ``"confidence"``.
        precommit: nodes at least this confident are taken at once and not scanned; they exclude
            nobody. Default: no such nodes.
        late: what happens once ``1 - remaining / gen_length >= late_progress``: ``"union"``
            adds every node with confidence >= late_threshold, ``"switch"`` takes only those.
        late_threshold: confidence.
        late_progress: fraction of gen_length; compared in float32.

    Returns:
        [B, N] bool.

    Raises:
        ValueError: a shape, dtype, device, stride or word is not as above.
        NotImplementedError: N > 8192.

    Source: DAPD (arXiv 2603.12996), its variants "staged" (late) and "direct" (precommit).

    Example:
        >>> conflict = torch.tensor([[[0b10], [0b01]]], dtype=torch.int32)  # exclude each other
        >>> one = torch.ones(1, dtype=torch.int32)
        >>> confidence, degree = torch.tensor([[0.6, 0.5]]), torch.tensor([[0.1, 0.2]])
        >>> dapd_select(confidence, torch.tensor([[4, 5]]), conflict, degree, one, one).tolist()
        [[False, True]]
    """
    return torch.ops.unmask.dapd_select(
        dense(confidence),
        dense(token),
        dense(conflict),
        dense(degree),
        dense(remaining),
        dense(gen_length),
        order=order,
        precommit=precommit,
        late=late,
        late_threshold=late_threshold,
        late_progress=late_progress,
    )


@torch.library.register_fake("unmask::dapd_select")
def _(
    confidence: Tensor,
    token: Tensor,
    conflict: Tensor,
    degree: Tensor,
    remaining: Tensor,
    gen_length: Tensor,
    order: str = "degree*confidence",
    precommit: float | None = None,
    late: str | None = None,
    late_threshold: float = 0.9,
    late_progress: float = 0.5,
) -> Tensor:
    return torch.empty_like(confidence, dtype=torch.bool)
