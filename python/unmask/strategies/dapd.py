"""DAPD: reveal together what does not depend on each other."""

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import Any, ClassVar, Literal

from torch import Tensor

from unmask import ops
from unmask._checks import (
    require_layers,
    require_number,
    require_one_of,
)
from unmask.strategies.base import StepInputs, Strategy

CERTAIN = 0.998046875
"""1 - 2**-9. A bfloat16 softmax rounds everything above it to 1, which is what "confidence 1" meant
where the rule was published."""


@dataclass(frozen=True)
class DAPD(Strategy):
    """Reveal a maximal independent set of the graph that attention draws between masked tokens.

    Two nodes are in conflict where their attention to each other exceeds tau, which rises from
    ``tau_min`` to ``tau_max`` as the row fills up. Nodes are taken in descending ``order``.

    Fields:
        tau_min, tau_max: threshold at the start and at the end.
        layers: whose attention, the last fraction of the layers or a list of them.
        edge: tau is relative to the largest score of the row ("rowmax"), to its sum ("rowsum"),
            or absolute ("raw").
        normalize: first divide each row of attention by its sum over the other nodes.
        order: "degree*confidence", "degree" or "confidence".
        precommit: reveal nodes of at least this confidence at once, without a look at the graph.
        late, late_threshold, late_progress: once that fraction of the row is revealed, nodes of
            at least that confidence join the independent set ("union") or replace it ("switch").

    Source: arXiv 2603.12996. The presets are its variants.
    """

    tau_min: float = 0.01
    tau_max: float = 0.15
    layers: float | Sequence[int] = 0.3
    edge: Literal["rowmax", "rowsum", "raw"] = "rowmax"
    normalize: bool = False
    order: Literal["degree*confidence", "degree", "confidence"] = "degree*confidence"
    precommit: float | None = None
    late: Literal["union", "switch"] | None = None
    late_threshold: float = 0.9
    late_progress: float = 0.5

    needs_attention: ClassVar[bool] = True

    def __post_init__(self) -> None:
        require_number("tau_min", self.tau_min)
        require_number("tau_max", self.tau_max)
        require_layers("layers", self.layers)
        require_one_of("edge", self.edge, ["rowmax", "rowsum", "raw"])
        require_one_of("normalize", self.normalize, [False, True])
        require_one_of("order", self.order, ["degree*confidence", "degree", "confidence"])
        require_one_of("late", self.late, [None, "union", "switch"])
        if self.precommit is not None:
            require_number("precommit", self.precommit)
        require_number("late_threshold", self.late_threshold)
        require_number("late_progress", self.late_progress, most=1.0)

    @classmethod
    def staged(cls, **overrides: Any) -> "DAPD":
        """The graph alone at first, and from half-way on also everything confident."""
        return replace(cls(late="union"), **overrides)

    @classmethod
    def direct(cls, **overrides: Any) -> "DAPD":
        """What is certain at once, the graph for the rest."""
        return replace(cls(tau_max=0.05, precommit=CERTAIN), **overrides)

    @classmethod
    def confident_first(cls, **overrides: Any) -> "DAPD":
        """``direct`` with a lower bar: what is confident at once, the graph for the rest."""
        return replace(cls.direct(precommit=0.9), **overrides)

    def tau(self, inputs: StepInputs) -> Tensor:
        """The threshold of each row in this step: f32 [B]."""
        progress = 1 - inputs.remaining.float() / inputs.gen_length.float()
        progress = progress.masked_fill(inputs.gen_length < 1, 0.0)
        # Rounded as the compiled operators round, so that both meet the same threshold.
        least = _float32(self.tau_min)
        return progress * _float32(_float32(self.tau_max) - least) + least

    def select(self, inputs: StepInputs) -> Tensor:
        """Which nodes to reveal: bool [B, N]. Needs ``inputs.scores``."""
        if inputs.scores is None:
            raise ValueError(
                "scores must be given for DAPD, got None: run the model under unmask.AttentionTap"
            )
        graph = ops.dependency_graph(
            inputs.scores,
            inputs.positions,
            self.tau(inputs),
            edge=self.edge,
            normalize=self.normalize,
        )
        return ops.dapd_select(
            inputs.confidence,
            inputs.token,
            graph.conflict,
            graph.degree,
            inputs.remaining,
            inputs.gen_length,
            order=self.order,
            precommit=self.precommit,
            late=self.late,
            late_threshold=self.late_threshold,
            late_progress=self.late_progress,
        )

    def fused_step(self) -> Callable[..., ops.StepResult]:
        """:func:`unmask.dapd_step_` with these fields."""
        options = {field.name: getattr(self, field.name) for field in fields(self)}
        del options["layers"]  # chosen where attention is listened to
        return partial(ops.dapd_step_, **options)


def _float32(value: float) -> float:
    """The nearest float32, without a tensor: making one on a device would cost a copy."""
    return float(struct.unpack("f", struct.pack("f", value))[0])
