"""Steps in the middle of decoding, for tests of strategies."""

from dataclasses import replace
from typing import Any

import torch
from models import MASK, VOCAB
from unmask import StepInputs, Strategy, masked_positions

LENGTH, BATCH = 29, 3


def random_inputs(rng: torch.Generator, strategy: Strategy, **more: Any) -> StepInputs:
    """A step in the middle of decoding: rows 0 and 1 have masks, the last row has none."""
    device = rng.device
    tokens = torch.randint(0, MASK, (BATCH, LENGTH), generator=rng, device=device)
    hidden = torch.rand(BATCH, LENGTH, generator=rng, device=device)
    tokens[hidden < torch.tensor([[0.7], [0.4], [0.0]], device=device)] = MASK
    positions = masked_positions(tokens, MASK)
    logits = 4 * torch.randn(BATCH, LENGTH, VOCAB, generator=rng, device=device)
    attention = torch.rand(BATCH, LENGTH, LENGTH, generator=rng, device=device)
    attention = (6 * attention).softmax(-1)
    if strategy.attention_between == "nodes":
        at = positions.long().clamp(min=0)
        attention = attention.gather(1, at.unsqueeze(2).expand_as(attention))
        attention = attention.gather(2, at.unsqueeze(1).expand_as(attention))
    return StepInputs.from_logits(
        tokens,
        positions,
        logits,
        candidates=strategy.candidates,
        scores=attention,
        suppress_tokens=[MASK],
        **more,
    )


def with_ties(inputs: StepInputs) -> StepInputs:
    """Confidences and entropies in quarters; every fifth node without a token."""
    unusable = torch.arange(inputs.token.shape[1], device=inputs.token.device) % 5 == 4
    return replace(
        inputs,
        token=inputs.token.masked_fill(unusable, -1),
        confidence=(inputs.confidence * 4).round() / 4,
        entropy=(inputs.entropy * 4).round() / 4,
        probs=(inputs.probs * 4).round() / 4,
    )
