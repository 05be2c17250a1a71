"""What depends on what, asked of the model itself: reveal one position, and see who moves.

For masked positions i and j of a state, the influence of i on j is the mean over i's tokens v of
the total variation between p(j | state) and p(j | state, i = v). With every v in the mean this is
the total variation between the joint law of both and the product of their marginals: exactly what
is lost by revealing both at once.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from unmask.calibration.probe import Probe
from unmask.calibration.work import Tensors

RUN = 4  # neighbours that are sampled together, so that near pairs appear as well as far ones


@dataclass(frozen=True)
class Measured:
    """One state. N masked positions, of which s were measured, in n layers."""

    prompt: int
    progress: float  # the share of the masks that is revealed
    chosen: Tensor  # int64 [s], which of the N
    positions: Tensor  # int64 [s], where these are in the text
    influence: Tensor  # f32 [s, s], of row on column, 0 on the diagonal
    rows: Tensor  # f32 [n, s, N], attention of the measured to all
    columns: Tensor  # f32 [n, N, s], attention of all to the measured
    sums: Tensor  # f32 [n, N], attention of each of the N to the others

    @classmethod
    def of(cls, prompt: int, parts: Tensors) -> "Measured":
        """From what :func:`measure` returned."""
        rest = {name: part for name, part in parts.items() if name != "progress"}
        return cls(prompt=prompt, progress=float(parts["progress"]), **rest)


def states_of(
    masked: Tensor, new: int, count: int, block_length: int | None, generator: torch.Generator
) -> list[Tensor]:
    """Which masks are still there in each state, the first one with all: bool [L] each.

    Positions are revealed in random order, block after block, so each state contains the next.

    Args:
        masked: bool [L], all that has to be revealed.
        new: where the first block's new tokens begin; masks before belong to it.
        count: how many states.
        block_length: None: one block.
        generator: draws the order and, but for the first state, how far each one is.
    """
    where = masked.nonzero().flatten()
    order = where[torch.randperm(len(where), generator=generator)]
    if block_length is not None:
        order = order[_block(order, new, block_length).argsort(stable=True)]
    late = torch.rand(count, generator=generator)
    states = []
    for k in range(count):
        shown = int((k + float(late[k])) / count * len(order)) if k else 0
        states.append(masked.index_fill(0, order[:shown], False))
    return states


def nodes_of(masked: Tensor, new: int, block_length: int | None) -> Tensor:
    """The masked positions that a step looks at: those of the first block that has any."""
    where = masked.nonzero().flatten()
    if block_length is None or len(where) == 0:
        return where
    block = _block(where, new, block_length)
    return where[block == block[0]]


def _block(positions: Tensor, new: int, block_length: int) -> Tensor:
    return (positions - new).clamp(min=0) // block_length


def measure(
    probe: Probe, tokens: Tensor, nodes: Tensor, progress: float, generator: torch.Generator
) -> Tensors:
    """One state: attention between its nodes, and the influence of some of them on each other.

    Args:
        probe: the model.
        tokens: int64 [L], masks included.
        nodes: int64 [N], the masked positions that a step would look at.
        progress: the share of the masks that is revealed.
        generator: draws which nodes.

    Returns:
        The parts of :class:`Measured`. Nodes that are revealed at once anyway, for their
        confidence, are not measured.
    """
    settings = probe.settings
    attention, p = probe.attention(tokens, nodes)
    open_nodes = (p.amax(-1) < settings.precommit).nonzero().flatten().cpu()
    chosen = _some(open_nodes, settings.nodes, generator).to(nodes.device)
    p = p[chosen]
    attention = attention.clone()
    attention.diagonal(dim1=-2, dim2=-1).zero_()
    return {
        "progress": torch.tensor(progress),
        "chosen": chosen,
        "positions": nodes[chosen],
        "influence": _influence(probe, tokens, nodes[chosen], p),
        "rows": attention[:, chosen],
        "columns": attention[:, :, chosen],
        "sums": attention.sum(-1),
    }


def _some(nodes: Tensor, most: int, generator: torch.Generator) -> Tensor:
    """All nodes, or random short runs of neighbours: ascending."""
    if len(nodes) <= most:
        return nodes
    runs = list(nodes.split(RUN))
    picked = torch.randperm(len(runs), generator=generator).tolist()
    return torch.cat([runs[i] for i in picked])[:most].sort().values


def _influence(probe: Probe, tokens: Tensor, positions: Tensor, p: Tensor) -> Tensor:
    """f32 [s, s]: p, [s, V], moves by how much in column j when row i is revealed."""
    s = len(positions)
    if s == 0:
        return p.new_zeros(0, 0)
    values = min(probe.settings.values, p.shape[-1])
    weight, token = p.topk(values)
    weight = weight / weight.sum(-1, keepdim=True)
    texts = tokens.repeat(s * values, 1)
    revealed = positions.repeat_interleave(values)
    texts[torch.arange(len(texts), device=texts.device), revealed] = token.flatten()
    moved = torch.cat(
        [(q - p).abs().sum(-1) / 2 for q in probe.probabilities(texts, positions)]
    ).view(s, values, s)
    influence = (moved * weight.unsqueeze(-1)).sum(1)
    return influence.fill_diagonal_(0.0)
