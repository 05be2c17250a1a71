"""Strategies as plain JSON, and those that exist for these experiments only.

A spec is ``{"rule": "DAPD.direct", "layers": [0]}``: a name of ``unmask.strategies``, or of a
preset, or of a class below, and its arguments.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn.functional import pad
from unmask import dependency_graph, independent_set, strategies, toy
from unmask.strategies import DAPD, StepInputs, Strategy
from unmask.toy.model import MaskedOutput

Spec = dict[str, Any]


@dataclass(frozen=True)
class Scan(Strategy):
    """A maximal independent set, taken in any order, of DAPD's graph or of the true one.

    Fields:
        truth: a task whose known dependencies are the graph; None: raw attention above tau.
        order: "degree*confidence", "confidence", "random" or "-degree".
    """

    tau: float = 0.14
    layers: Any = (0,)
    truth: str | None = None
    order: str = "degree*confidence"

    needs_attention: ClassVar[bool] = True

    def select(self, inputs: StepInputs) -> Tensor:
        """Which nodes to reveal: bool [B, N]."""
        scores, tau = inputs.scores_for(self), self.tau
        if self.truth is not None:
            at = inputs.positions.long().clamp(min=0)
            edges = toy.TASKS[self.truth].edges().float()  # type: ignore[attr-defined]
            scores, tau = edges[at.unsqueeze(-1), at.unsqueeze(1)], 0.5
        graph = dependency_graph(scores.contiguous(), inputs.positions, tau, edge="raw")
        key = self._key(graph.degree, inputs).contiguous()
        return independent_set(graph.conflict, key, eligible=inputs.token >= 0)

    def _key(self, degree: Tensor, inputs: StepInputs) -> Tensor:
        if self.order == "random":
            step = torch.as_tensor(inputs.step).item()
            return torch.rand(degree.shape, generator=torch.Generator().manual_seed(int(step)))
        keys: dict[str, Callable[[], Tensor]] = {
            "degree*confidence": lambda: degree * inputs.confidence,
            "confidence": lambda: inputs.confidence,
            "-degree": lambda: -degree,
        }
        return keys[self.order]()


def literal(tau: float, layers: Any, normalize: bool = False) -> DAPD:
    """The rule as the paper's text has it: absolute scores, and from half-way on confident tokens
    instead of the graph."""
    return DAPD(
        edge="raw", tau_min=tau, tau_max=tau, layers=layers, normalize=normalize, late="switch"
    )


def build(spec: Spec) -> Strategy:
    """The strategy of a spec."""
    arguments = {name: value for name, value in spec.items() if name != "rule"}
    rule = spec["rule"]
    own: dict[str, Callable[..., Strategy]] = {"Scan": Scan, "literal": literal}
    if rule in own:
        return own[rule](**arguments)
    name, _, preset = rule.partition(".")
    maker = getattr(strategies, name)
    made: Strategy = (getattr(maker, preset) if preset else maker)(**arguments)
    return made


def describe(spec: Spec) -> str:
    """A spec as a reader would type it: ``Threshold(threshold=0.9)``."""
    inside = ", ".join(f"{name}={value!r}" for name, value in spec.items() if name != "rule")
    return f"{spec['rule']}({inside})"


class WithPlaces(torch.nn.Module):
    """A toy model for WINO, which hands it tokens out of place and says who may look at whom."""

    def __init__(self, model: toy.MaskedTransformer) -> None:
        super().__init__()
        self.model, self.config = model, model.config

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
    ) -> MaskedOutput:
        """Logits of [B, L] tokens at position_ids; attention_mask: bool [B, 1, L, L]."""
        if position_ids is None:
            output: MaskedOutput = self.model(input_ids, attention_mask=attention_mask)
            return output
        model, slots = self.model, self.config.slots
        x = model.word(input_ids) + model.slot(position_ids % slots)
        if model.block is not None:
            x = x + model.block(position_ids // slots)
        for layer in model.layers:
            x = layer(x, attention_mask)
        logits = model.head(model.norm(x)).float()
        return MaskedOutput(pad(logits, (0, 1), value=float("-inf")))
