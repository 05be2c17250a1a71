"""Which step revealed which token: for plots, for step maps, for looking at what a rule does."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from unmask.decoding.events import StepEvent
from unmask.decoding.host import read


@dataclass(frozen=True)
class Trace:
    """The order in which B sequences of L tokens were revealed, in at most S steps."""

    tokens: Tensor  # int64 [B, L], the result
    revealed_step: Tensor  # int32 [B, L]; -1: given, padding, still masked, or filled after EOS
    confidence: Tensor  # f32 [B, L], when it was revealed; 0 where revealed_step is -1
    committed: Tensor  # int32 [B, S], tokens revealed in each step

    def to_dict(self) -> dict[str, Any]:
        """Lists of lists, ready for JSON."""
        return {name: read(getattr(self, name)).tolist() for name in _DTYPES}

    def save(self, path: str | Path) -> None:
        """Write it as JSON."""
        Path(path).write_text(json.dumps(self.to_dict()), encoding="utf-8")

    @classmethod
    def load(cls, path: str | Path) -> "Trace":
        """Read what :meth:`save` wrote, onto the CPU."""
        stored = json.loads(Path(path).read_text(encoding="utf-8"))
        return cls(**{name: torch.tensor(stored[name], dtype=_DTYPES[name]) for name in _DTYPES})

    def render(self, decode: Callable[[list[int]], str], row: int = 0, width: int = 88) -> str:
        """One row's words with the step of each below it, wrapped at `width` columns.

        Args:
            decode: makes text of a list of token ids; ``tokenizer.decode`` does.

        Example:
            >>> trace = Trace(
            ...     tokens=torch.tensor([[5, 6, 7]]),
            ...     revealed_step=torch.tensor([[-1, 1, 0]], dtype=torch.int32),
            ...     confidence=torch.tensor([[0.0, 0.8, 0.9]]),
            ...     committed=torch.tensor([[1, 1]], dtype=torch.int32),
            ... )
            >>> print(trace.render(lambda ids: {5: "she", 6: "plays", 7: "chess"}[ids[0]]))
            she plays chess
            .   1     0
        """
        words = [decode([token]).strip() or "_" for token in read(self.tokens[row]).tolist()]
        steps = read(self.revealed_step[row]).tolist()
        lines, upper, lower = [], "", ""
        for word, step in zip(words, steps, strict=True):
            below = "." if step < 0 else str(step)
            column = max(len(word), len(below)) + 1
            if upper and len(upper) + column > width + 1:
                lines += [upper.rstrip(), lower.rstrip()]
                upper = lower = ""
            upper, lower = upper + word.ljust(column), lower + below.ljust(column)
        return "\n".join([*lines, upper.rstrip(), lower.rstrip()])


_DTYPES = {
    "tokens": torch.int64,
    "revealed_step": torch.int32,
    "confidence": torch.float32,
    "committed": torch.int32,
}


class TraceRecorder:
    """Collects a trace while a run goes on, without waiting for the device."""

    def __init__(self, tokens: Tensor) -> None:
        batch, length = tokens.shape
        # One column more than there are positions: where nodes that were not revealed end up.
        self._step = tokens.new_full((batch, length + 1), -1, dtype=torch.int32)
        self._confidence = tokens.new_zeros((batch, length + 1), dtype=torch.float32)
        self._committed: list[Tensor] = []

    def __call__(self, event: StepEvent) -> None:
        """Note what this step revealed."""
        nowhere = self._step.shape[1] - 1
        at = torch.where(event.selected, event.inputs.positions, nowhere).long()
        self._step.scatter_(1, at, event.step)
        self._confidence.scatter_(1, at, event.inputs.confidence)
        self._committed.append(event.selected.sum(-1, dtype=torch.int32))

    def trace(self, tokens: Tensor, steps: Tensor) -> Trace:
        """The trace of a run that ended with these tokens, after these numbers of passes."""
        passes = int(read(steps).max(initial=0))  # on CUDA one more may have run in vain
        nothing = steps.new_zeros((0, len(steps)))
        committed = torch.stack(self._committed[:passes]) if passes else nothing
        return Trace(tokens, self._step[:, :-1], self._confidence[:, :-1], committed.mT)
