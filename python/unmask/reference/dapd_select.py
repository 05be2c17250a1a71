"""DAPD's selection, one sequence at a time."""

import torch
from torch import Tensor

from unmask.reference.independent_set import independent_set
from unmask.reference.select import most_confident


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
    """confidence, token, degree: [B, N], remaining, gen_length: [B] -> [B, N] bool."""
    keys = {"degree*confidence": degree * confidence, "degree": degree, "confidence": confidence}
    usable = token >= 0
    certain = usable & (confidence >= torch.tensor(2.0 if precommit is None else precommit))
    selected = independent_set(conflict, keys[order], usable & ~certain) | certain

    progress = torch.where(gen_length > 0, 1 - remaining / gen_length, 0.0)
    confident = usable & (confidence >= torch.tensor(late_threshold))
    is_late = (progress >= torch.tensor(late_progress)).unsqueeze(1)
    if late == "union":
        selected = selected | (is_late & confident)
    elif late == "switch":
        selected = torch.where(is_late, confident, selected)

    for b in range(confidence.shape[0]):
        if not selected[b].any():
            selected[b, most_confident(confidence[b], usable[b])] = True
    return selected
