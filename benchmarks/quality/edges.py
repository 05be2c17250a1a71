"""The cell that asks whether attention shows which positions depend on each other."""

import torch
from torch import Tensor
from unmask import AttentionTap, masked_positions, toy

from quality import training
from quality.cells import Cache, Result, Settings

PROMPT_SEED = 7


def edges(settings: Settings, cache: Cache) -> Result:
    """Compare attention with the true graph.

    Settings:
        model: of ``Scale.model``.
        count: sequences.
        layers: whose attention, as ``AttentionTap`` takes them.
        partial: hide every sequence by its own random share, else everything.

    Returns:
        auc: the chance that a true edge scores higher than a pair without one, of mean scores.
        ratio: mean score of true edges over that of the other pairs.
        violated: of the pairs of positions with different true degree, the share whose degrees in
            the graph of attention are the other way round (the paper's OVR, by our reading).
        edge_quantiles, rest_quantiles: the 5 %, 50 % and 95 % of both.
    """
    model, task = training.load(settings["model"], cache)
    rng = torch.Generator().manual_seed(PROMPT_SEED)
    tokens = task.sample(settings["count"], rng)
    share = torch.rand(len(tokens), 1, generator=rng) if settings["partial"] else torch.ones(1)
    hidden = torch.rand(tokens.shape, generator=rng) < share
    mean = mean_scores(model, tokens.masked_fill(hidden, task.mask_token_id), settings["layers"])
    true: Tensor = task.edges()  # type: ignore[attr-defined]
    upper = torch.ones_like(mean).triu(1).bool() & ~mean.isnan()
    edge, rest = mean[upper & true], mean[upper & ~true]
    degree = mean.nan_to_num().fill_diagonal_(0).sum(1)
    higher = true.sum(1)[:, None] > true.sum(1)
    violated = higher & (degree[:, None] < degree)
    return {
        "auc": (edge[:, None] > rest).double().mean().item(),
        "ratio": (edge.mean() / rest.mean()).item(),
        "violated": (violated.sum() / higher.sum()).item(),
        "edge_quantiles": _quantiles(edge),
        "rest_quantiles": _quantiles(rest),
    }


def mean_scores(model: toy.MaskedTransformer, tokens: Tensor, layers: float | list[int]) -> Tensor:
    """Symmetrised scores between positions, mean over the sequences where both are masked:
    [L, L], NaN where they never are."""
    count, length = tokens.shape
    positions = masked_positions(tokens, model.config.mask_token_id)
    tap = AttentionTap(model, layers=layers)
    with torch.no_grad(), tap(positions):
        model(tokens)
    assert tap.scores is not None, "the tap has heard the model"
    exists = positions >= 0
    pairs = exists.unsqueeze(1) & exists.unsqueeze(2)
    nodes = ((tap.scores + tap.scores.mT) / 2).masked_fill(~pairs, float("nan"))
    slot = torch.where(exists, positions, length).long()  # padding goes to a row of its own
    full = torch.full((count, length + 1, length + 1), float("nan"))
    row = torch.arange(count)[:, None, None]
    full[row, slot.unsqueeze(2), slot.unsqueeze(1)] = nodes
    return full[:, :length, :length].nanmean(0)


def _quantiles(values: Tensor) -> list[float]:
    return torch.quantile(values, torch.tensor([0.05, 0.5, 0.95])).tolist()
