"""The decoding loop where nobody looks on: after the model, one fused step, and nothing is kept."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from unmask import ops
from unmask.decoding.canvas import Canvas
from unmask.decoding.ending import fill_after_eos
from unmask.strategies import Strategy

FusedStep = Callable[..., ops.StepResult]


def fused_step_of(strategy: Strategy) -> FusedStep | None:
    """The strategy's own fused step. An inherited one may not do what its ``select`` does."""
    return strategy.fused_step() if "fused_step" in vars(type(strategy)) else None


class FusedLoop:
    """B sequences being decoded in place. Every tensor keeps its address, so that a step can be
    replayed as a CUDA graph."""

    def __init__(
        self,
        canvas: Canvas,
        step: FusedStep,
        options: Callable[[Tensor], dict[str, Any]],
        eos: Tensor | None,
    ) -> None:
        """Options: what the step takes, by the logits it gets."""
        masked = canvas.masked(canvas.tokens)
        self.tokens = canvas.tokens.clone()  # int64 [B, L]
        self.positions = canvas.nodes(self.tokens, masked)  # int32 [B, N], of the next step
        self.remaining = masked.sum(-1, dtype=torch.int32)  # [B], masks left
        self.passes = torch.zeros_like(self.remaining)  # [B], until the row was complete
        self._gen_length = self.remaining.clone()
        self._number = torch.zeros(1, dtype=torch.int64, device=self.tokens.device)
        self._canvas, self._step, self._options, self._eos = canvas, step, options, eos

    def advance(self, logits: Tensor, scores: Tensor | None) -> None:
        """Take a step: logits [B, L, V] of `tokens`, scores [B, N, N] of `positions`."""
        attention = {} if scores is None else {"scores": scores, "gen_length": self._gen_length}
        self._step(
            self.tokens,
            logits,
            mask_id=self._canvas.mask_id,
            positions=self.positions,
            step=self._number,
            **attention,
            **self._options(logits),
        )
        if self._eos is not None:
            self.tokens.copy_(fill_after_eos(self.tokens, self._canvas, self._eos))
        masked = self._canvas.masked(self.tokens)
        self.passes += self.remaining > 0
        self.remaining.copy_(masked.sum(-1, dtype=torch.int32))
        self.positions.copy_(self._canvas.nodes(self.tokens, masked))
        self._number += 1
