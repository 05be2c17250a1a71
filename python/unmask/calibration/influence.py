"""What depends on what, asked of the model itself: reveal one position, and see who moves.

For masked positions i and j of a state, the influence of i on j is the mean over i's tokens v of
the total variation between p(j | state) and p(j | state, i = v). With every v in the mean this is
the total variation between the joint law of both and the product of their marginals: exactly what
is lost by revealing both at once. What depends on each other only through a third is seen where
the third is known: in later states, and at the end where all but two are known.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from unmask.calibration.probe import Probe
from unmask.calibration.work import Tensors


@dataclass(frozen=True)
class Measured:
    """One state. N masked positions, of which s were measured, in n layers."""

    prompt: int
    progress: float  # the share of the masks that is revealed
    chosen: Tensor  # int64 [s], which of the N
    positions: Tensor  # int64 [s], where these are in the text
    influence: Tensor  # f32 [s, s], of row on column, 0 on the diagonal
    rest: Tensor  # f32 [s, s], the same where all others are known; NaN: not measured
    rows: Tensor  # f32 [n, s, N], attention of the measured to all
    columns: Tensor  # f32 [n, N, s], attention of all to the measured
    sums: Tensor  # f32 [n, N], attention of each of the N to the others

    @classmethod
    def of(cls, prompt: int, parts: Tensors, last: Tensors) -> "Measured":
        """From what :func:`measure` and :func:`measure_last` returned."""
        here, there = parts["positions"], last["positions"]
        same = here.unsqueeze(-1) == there
        known, at = same.any(-1), same.int().argmax(-1)
        rest = torch.where(known & known.unsqueeze(-1), last["influence"][at][:, at], torch.nan)
        given = {name: part for name, part in parts.items() if name != "progress"}
        return cls(prompt=prompt, progress=float(parts["progress"]), rest=rest, **given)


def measure(probe: Probe, tokens: Tensor, nodes: Tensor, progress: float, order: Tensor) -> Tensors:
    """One state: attention between its nodes, and the influence of some of them on each other.

    Args:
        probe: the model.
        tokens: int64 [L], masks included.
        nodes: int64 [N], the masked positions that a step would look at.
        progress: the share of the masks that is revealed.
        order: int64, positions; the first of them are measured.

    Returns:
        The parts of :class:`Measured`. Nodes that are revealed at once anyway, for their
        confidence, are not measured.
    """
    settings = probe.settings
    attention, p = probe.attention(tokens, nodes)
    doubtful = nodes[p.amax(-1) < settings.precommit].cpu()
    positions = order[torch.isin(order, doubtful)][: settings.nodes].sort().values
    chosen = torch.searchsorted(nodes, positions.to(nodes.device))
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


def measure_last(probe: Probe, text: Tensor, positions: Tensor) -> Tensors:
    """How much r positions of a full text [L] move each other when all others are known.

    For each pair both are masked, and then one: the distribution of that one moves so much when
    the other's token is revealed.

    Returns:
        positions: int64 [r]; influence: f32 [r, r], of row on column, 0 on the diagonal.
    """
    r = len(positions)
    alone = text.repeat(r, 1)
    every = torch.arange(r, device=text.device)
    alone[every, positions] = probe.mask_id
    known = torch.cat(list(probe.probabilities(alone, positions)))[every, every]
    first, second = torch.triu_indices(r, r, 1, device=text.device)
    pairs = text.repeat(len(first), 1)
    row = torch.arange(len(first), device=text.device)
    pairs[row, positions[first]] = probe.mask_id
    pairs[row, positions[second]] = probe.mask_id
    influence = known.new_zeros(r, r)
    begin = 0
    for p in probe.probabilities(pairs, positions):
        a, b = first[begin : begin + len(p)], second[begin : begin + len(p)]
        row = torch.arange(len(p), device=text.device)
        influence[a, b] = (p[row, b] - known[b]).abs().sum(-1) / 2
        influence[b, a] = (p[row, a] - known[a]).abs().sum(-1) / 2
        begin += len(p)
    return {"positions": positions, "influence": influence}


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
