"""The dependency graph, formula by formula."""

import torch
from torch import Tensor

from unmask.reference.bits import pack_bits


def symmetrised(scores: Tensor, positions: Tensor, normalize: bool = False) -> Tensor:
    """[B, N, N] float64: D, zero on the diagonal and for padding."""
    exists = positions >= 0
    same = torch.eye(scores.shape[-1], dtype=torch.bool, device=scores.device)
    pairs = exists.unsqueeze(2) & exists.unsqueeze(1) & ~same
    a = torch.where(pairs, scores.double().nan_to_num(nan=0.0, posinf=torch.inf), 0.0)
    if normalize:
        a = a / a.sum(-1, keepdim=True).clamp(min=1e-9)
    return (a + a.mT) / 2


def edge_limit(scores: Tensor, tau: float | Tensor, edge: str) -> Tensor:
    """What D_is must exceed, [B, N, 1] or [B, 1, 1], from the symmetrised scores."""
    row_tau = torch.as_tensor(tau, dtype=torch.float64, device=scores.device).reshape(-1, 1, 1)
    if edge == "raw" or scores.shape[-1] == 0:
        return row_tau
    if edge == "rowsum":
        return row_tau * scores.sum(-1, keepdim=True)
    return row_tau * scores.amax(-1, keepdim=True).clamp(min=1e-8)


def dependency_graph(
    scores: Tensor,
    positions: Tensor,
    tau: float | Tensor,
    *,
    edge: str = "rowmax",
    normalize: bool = False,
) -> tuple[Tensor, Tensor]:
    """Conflict bits [B, N, ceil(N / 32)] int32 and degrees [B, N] float64."""
    d = symmetrised(scores, positions, normalize)
    exists = positions >= 0
    same = torch.eye(scores.shape[-1], dtype=torch.bool, device=scores.device)
    pairs = exists.unsqueeze(2) & exists.unsqueeze(1) & ~same
    return pack_bits((d > edge_limit(d, tau, edge)) & pairs), d.sum(-1)
