"""A fused step, operator by operator.

The one oracle that is not float64: a step promises the bits of the operators it is made of, so it
is these that are composed here. Each of them has an oracle of its own.
"""

from typing import Any

import torch
from torch import Tensor

from unmask import ops
from unmask.ops import StepResult

WINDOW = ("start", "stop", "capacity")


def select_step_(
    tokens: Tensor,
    logits: Tensor,
    *,
    mask_id: int,
    rule: str,
    limit: float,
    positions: Tensor | None = None,
    **options: Any,
) -> StepResult:
    """tokens: [B, L] in and out, logits: [B, rows, V]; options as in ``unmask.ops.step``."""
    window = {name: options.pop(name) for name in WINDOW if name in options}
    if positions is None:
        positions = ops.masked_positions(tokens, mask_id, **window)
    found = ops.topk_confidence(logits, positions, **options)
    selected = ops.select(
        found.confidence,
        found.token,
        rule,
        limit,
        entropy=found.entropy,
        positions=positions,
        seed=options.get("seed", 0),
        step=options.get("step", 0),
    )
    committed = ops.commit_(tokens, positions, found.token, selected)
    return StepResult(committed, count_masks(tokens, mask_id), selected)


def dapd_step_(
    tokens: Tensor,
    logits: Tensor,
    scores: Tensor,
    *,
    mask_id: int,
    positions: Tensor | None = None,
    gen_length: Tensor | None = None,
    tau_min: float = 0.01,
    tau_max: float = 0.15,
    edge: str = "rowmax",
    normalize: bool = False,
    order: str = "degree*confidence",
    precommit: float | None = None,
    late: str | None = None,
    late_threshold: float = 0.9,
    late_progress: float = 0.5,
    **options: Any,
) -> StepResult:
    """The same with scores: [B, N, N]."""
    window = {name: options.pop(name) for name in WINDOW if name in options}
    if positions is None:
        positions = ops.masked_positions(tokens, mask_id, capacity=scores.shape[1], **window)
    remaining = count_masks(tokens, mask_id)
    total = remaining if gen_length is None else gen_length.int()
    progress = torch.where(total > 0, 1 - remaining / total, 0.0)
    tau = tau_min + (tau_max - tau_min) * progress

    found = ops.topk_confidence(logits, positions, **options)
    graph = ops.dependency_graph(scores, positions, tau, edge=edge, normalize=normalize)
    selected = ops.dapd_select(
        found.confidence,
        found.token,
        graph.conflict,
        graph.degree,
        remaining,
        total,
        order=order,
        precommit=precommit,
        late=late,
        late_threshold=late_threshold,
        late_progress=late_progress,
    )
    committed = ops.commit_(tokens, positions, found.token, selected)
    return StepResult(committed, count_masks(tokens, mask_id), selected)


def count_masks(tokens: Tensor, mask_id: int) -> Tensor:
    """[B, L] -> [B] int32, in the whole row."""
    return (tokens == mask_id).sum(1).int()
