"""One forward pass, whatever the model returns."""

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from unmask.attention_tap import AttentionTap
from unmask.strategies import Strategy


class Forward:
    """Calls the model, with its attention tapped where the strategy needs that."""

    def __init__(
        self, model: Callable[..., Any], attention_mask: Tensor | None, strategy: Strategy
    ) -> None:
        self._model = model
        self._attention_mask = attention_mask
        self._tap = (
            AttentionTap(model, layers=strategy.layers) if strategy.needs_attention else None
        )

    def __call__(self, tokens: Tensor, positions: Tensor) -> tuple[Tensor, Tensor | None]:
        """Logits [B, L, V] of tokens [B, L], attention scores [B, N, N] of positions [B, N]."""
        if self._tap is None:
            return self._logits(tokens), None
        with self._tap(positions):
            logits = self._logits(tokens)
        return logits, self._tap.scores

    def _logits(self, tokens: Tensor) -> Tensor:
        logits = logits_of(self._model(tokens, attention_mask=self._attention_mask))
        if logits.dim() != 3 or logits.shape[:2] != tokens.shape:
            batch, length = tokens.shape
            raise ValueError(
                f"model must return logits [B, L, V] = [{batch}, {length}, V], "
                f"got {list(logits.shape)}"
            )
        return logits


def logits_of(output: Any) -> Tensor:
    """The logits in a model's output: the tensor, `.logits`, ["logits"], or a tuple's first."""
    if isinstance(output, tuple | list) and not hasattr(output, "logits"):
        output = output[0] if output else None
    elif isinstance(output, Mapping):
        output = output.get("logits")
    logits = getattr(output, "logits", output)
    if not isinstance(logits, Tensor):
        raise ValueError(
            "model must return logits, an object with .logits, a dict or a tuple holding them, "
            f"got {type(output).__name__}"
        )
    return logits
