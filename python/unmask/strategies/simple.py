"""Rules that look at each node on its own. Each is one call of :func:`unmask.select`."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from torch import Tensor

from unmask import ops
from unmask._checks import require_count, require_number
from unmask.strategies.base import StepInputs, Strategy


@dataclass(frozen=True)
class TopConfidence(Strategy):
    """Reveal a fixed number of nodes, the most confident ones.

    Source: "low confidence remasking" of LLaDA (arXiv 2502.09992).
    """

    tokens_per_step: int = 1

    def __post_init__(self) -> None:
        require_count("tokens_per_step", self.tokens_per_step, least=1)

    def select(self, inputs: StepInputs) -> Tensor:
        """Which nodes to reveal: bool [B, N]."""
        return ops.select(inputs.confidence, inputs.token, "top", self.tokens_per_step)

    def fused_step(self) -> Callable[..., ops.StepResult]:
        """:func:`unmask.top_confidence_step_` with these fields."""
        return partial(ops.top_confidence_step_, tokens_per_step=self.tokens_per_step)


@dataclass(frozen=True)
class Random(Strategy):
    """Reveal a fixed number of nodes, drawn by counter-based noise from the inputs' seed.

    Source: "random remasking" of LLaDA (arXiv 2502.09992).
    """

    tokens_per_step: int = 1

    def __post_init__(self) -> None:
        require_count("tokens_per_step", self.tokens_per_step, least=1)

    def select(self, inputs: StepInputs) -> Tensor:
        """Which nodes to reveal: bool [B, N]."""
        return ops.select(
            inputs.confidence,
            inputs.token,
            "random",
            self.tokens_per_step,
            positions=inputs.positions,
            seed=inputs.seed,
            step=inputs.step,
        )

    def fused_step(self) -> Callable[..., ops.StepResult]:
        """:func:`unmask.random_step_` with these fields."""
        return partial(ops.random_step_, tokens_per_step=self.tokens_per_step)


@dataclass(frozen=True)
class Threshold(Strategy):
    """Reveal every node with confidence >= threshold. Above 1: one token per step.

    Source: Fast-dLLM (arXiv 2505.22618).
    """

    threshold: float = 0.9

    def __post_init__(self) -> None:
        require_number("threshold", self.threshold)

    def select(self, inputs: StepInputs) -> Tensor:
        """Which nodes to reveal: bool [B, N]."""
        return ops.select(inputs.confidence, inputs.token, "threshold", self.threshold)

    def fused_step(self) -> Callable[..., ops.StepResult]:
        """:func:`unmask.threshold_step_` with these fields."""
        return partial(ops.threshold_step_, threshold=self.threshold)


@dataclass(frozen=True)
class Factor(Strategy):
    """Reveal the n most confident nodes while (n + 1) * (1 - confidence of the n-th) <= factor.

    Source: Fast-dLLM (arXiv 2505.22618).
    """

    factor: float = 1.0

    def __post_init__(self) -> None:
        require_number("factor", self.factor)

    def select(self, inputs: StepInputs) -> Tensor:
        """Which nodes to reveal: bool [B, N]."""
        return ops.select(inputs.confidence, inputs.token, "factor", self.factor)

    def fused_step(self) -> Callable[..., ops.StepResult]:
        """:func:`unmask.factor_step_` with these fields."""
        return partial(ops.factor_step_, factor=self.factor)


@dataclass(frozen=True)
class EntropyBound(Strategy):
    """Reveal nodes by ascending entropy while their sum minus their largest stays <= gamma nats.

    The bounded difference is an upper bound of the joint mutual information of what is revealed.

    Source: EB-Sampler (arXiv 2505.24857).
    """

    gamma: float = 0.1

    def __post_init__(self) -> None:
        require_number("gamma", self.gamma)

    def select(self, inputs: StepInputs) -> Tensor:
        """Which nodes to reveal: bool [B, N]."""
        return ops.select(
            inputs.confidence, inputs.token, "entropy", self.gamma, entropy=inputs.entropy
        )

    def fused_step(self) -> Callable[..., ops.StepResult]:
        """:func:`unmask.entropy_bound_step_` with these fields."""
        return partial(ops.entropy_bound_step_, gamma=self.gamma)
