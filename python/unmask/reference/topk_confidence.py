"""Softmax in float64, rankings by sorting, one row at a time."""

from collections.abc import Sequence

import torch
from torch import Tensor

from unmask.reference.logit_rows import NEVER, rows_of_nodes, usable
from unmask.reference.philox import noise_words
from unmask.reference.two_level import draw_in_two_levels

INFINITY = float("inf")


def ranking(row: Tensor) -> Tensor:
    """[V] -> the ids of the usable tokens, best first, ties to the lower id."""
    order = torch.sort(row, descending=True, stable=True).indices
    return order[row[order] > NEVER]


def kept_tokens(row: Tensor, top_k: int, top_p: float) -> Tensor:
    """[V] tempered logits -> the ids that top_k and then top_p keep, best first.

    A token stays while the tokens ranked before it carry less than top_p.
    """
    order = ranking(row)
    if top_k > 0:
        order = order[:top_k]
    if top_p < 1.0:
        probs = torch.softmax(row[order], 0)
        before = probs.cumsum(0) - probs
        order = order[before < top_p]
    return order


def softmax_and_entropy(row: Tensor) -> tuple[Tensor, Tensor]:
    """[V] logits -> probabilities, and the entropy in nats.

    The best token's term is kept apart: 1 + 1e-20 is 1, in float64 too.
    """
    best = int(ranking(row)[0])
    behind = row[best] - row
    weights = torch.exp(-behind)
    others = weights.clone()
    others[best] = 0.0
    probs = weights / (1.0 + others.sum())
    spread = (probs * behind.masked_fill(probs == 0, 0.0)).sum()
    return probs, torch.log1p(others.sum()) + spread


def gumbel_scores(row: Tensor, position: int, batch_row: int, step: int, seed: int) -> Tensor:
    """[V] tempered logits -> logits plus Gumbel noise: the token of the highest is a sample."""
    words = noise_words(len(row), position, batch_row, step, seed)
    uniform = (torch.tensor(words, dtype=torch.float64) + 0.5) * 2.0**-32
    return row - torch.log(-torch.log1p(-uniform))


def topk_confidence(
    logits: Tensor,
    positions: Tensor | None = None,
    *,
    k: int = 1,
    temperature: float = 0.0,
    top_k: int = 0,
    top_p: float = 1.0,
    sampler: str = "gumbel",
    logit_scale: float = 1.0,
    row_shift: int = 0,
    row_offset: int = 0,
    suppress_tokens: Tensor | Sequence[int] | None = None,
    seed: int | Tensor = 0,
    step: int | Tensor = 0,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Return (token, confidence, ids, probs, entropy, logsumexp), the floats in float64."""
    batch, length, vocab = logits.shape
    nodes = length if positions is None else positions.shape[1]
    token = torch.full((batch, nodes), -1)
    ids = torch.full((batch, nodes, k), -1)
    confidence, entropy = torch.zeros(2, batch, nodes, dtype=torch.float64).unbind()
    probs = torch.zeros(batch, nodes, k, dtype=torch.float64)
    logsumexp = torch.full((batch, nodes), NEVER, dtype=torch.float64)
    suppressed = torch.zeros(vocab, dtype=torch.bool)
    if suppress_tokens is not None:
        suppressed[torch.as_tensor(suppress_tokens, dtype=torch.int64)] = True

    for b, n, position, source in rows_of_nodes(logits, positions, row_shift, row_offset):
        raw = logits[b, source].double().masked_fill(suppressed, NEVER)
        order = ranking(raw.nan_to_num(nan=NEVER, posinf=float("inf"), neginf=NEVER))[:k]
        if len(order) == 0:
            continue
        row = usable(raw) * logit_scale
        p, entropy[b, n] = softmax_and_entropy(row)
        ids[b, n, : len(order)] = order
        probs[b, n, : len(order)] = p[order]
        logsumexp[b, n] = torch.logsumexp(
            raw.nan_to_num(nan=NEVER, posinf=float("inf")) * logit_scale, 0
        )
        token[b, n] = order[0]
        if temperature > 0:
            one_seed = isinstance(seed, int)
            noise = (
                position,
                b if one_seed else 0,
                int(step),
                seed if isinstance(seed, int) else int(seed[b]),
            )
            if sampler == "gumbel":
                kept = kept_tokens(row / temperature, top_k, top_p)
                token[b, n] = kept[gumbel_scores(row / temperature, *noise)[kept].argmax()]
            elif raw.nan_to_num(nan=NEVER, posinf=INFINITY).max() < INFINITY:
                token[b, n] = draw_in_two_levels(raw, logit_scale, temperature, *noise)
        confidence[b, n] = p[token[b, n]]
    return token, confidence, ids, probs, entropy, logsumexp
