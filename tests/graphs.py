"""Conflict graphs for tests, as [B, N, N] bool matrices: entry (i, j) says j excludes i."""

import torch
from torch import Tensor


def random_graph(batch: int, n: int, density: float, rng: torch.Generator) -> Tensor:
    """Directed, no self-loops."""
    edges = torch.rand(batch, n, n, generator=rng, device=rng.device) < density
    return edges & ~torch.eye(n, dtype=torch.bool, device=rng.device)


def chain(n: int, device: torch.device) -> Tensor:
    """Neighbours exclude each other: the graph whose decisions depend on each other most."""
    node = torch.arange(n, device=device)
    return ((node[:, None] - node).abs() == 1).unsqueeze(0)
