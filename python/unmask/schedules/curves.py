"""Schedules that follow a curve: the fraction alpha(t) of tokens that are revealed at time t."""

import math
from abc import abstractmethod
from dataclasses import dataclass

from unmask._checks import require_number
from unmask.schedules.base import Schedule
from unmask.schedules.beta import beta_cdf


class Curve(Schedule):
    """After step k of K, round(N (1 - alpha(k / K))) tokens are masked; halves round up."""

    @abstractmethod
    def alpha(self, t: float) -> float:
        """The fraction revealed at time t in [0, 1]: 0 at 0, 1 at 1, never falling."""

    def _sizes(self, masks: int, steps: int) -> list[int]:
        left = [math.floor(masks * (1 - self.alpha(k / steps)) + 0.5) for k in range(1, steps)]
        return [before - after for before, after in zip([masks, *left], [*left, 0], strict=True)]


@dataclass(frozen=True)
class Quota(Schedule):
    """As even as whole numbers allow, the larger ones first.

    Source: ``get_num_transfer_tokens`` of LLaDA (arXiv 2502.09992).
    """

    def _sizes(self, masks: int, steps: int) -> list[int]:
        share, rest = divmod(masks, steps)
        return [share + (k < rest) for k in range(steps)]


@dataclass(frozen=True)
class Linear(Curve):
    """alpha = t."""

    def alpha(self, t: float) -> float:
        """See :meth:`Curve.alpha`."""
        return t


@dataclass(frozen=True)
class Cosine(Curve):
    """1 - alpha = cos(pi t / 2): few tokens first, many at the end.

    Source: MaskGIT (arXiv 2202.04200).
    """

    def alpha(self, t: float) -> float:
        """See :meth:`Curve.alpha`."""
        return 1 - math.cos(math.pi * t / 2)


@dataclass(frozen=True)
class Sine(Curve):
    """alpha = sin(pi t / 2): many tokens first, few at the end."""

    def alpha(self, t: float) -> float:
        """See :meth:`Curve.alpha`."""
        return math.sin(math.pi * t / 2)


@dataclass(frozen=True)
class SquaredSine(Curve):
    """alpha = sin^2(pi t / 2), which is Beta(1, 1)."""

    def alpha(self, t: float) -> float:
        """See :meth:`Curve.alpha`."""
        return math.sin(math.pi * t / 2) ** 2


@dataclass(frozen=True)
class LogLinear(Curve):
    """Total noise -log(1 - (1 - eps) (1 - t)), so that all but eps of the masks go evenly, and
    those with the last step.

    Source: ``LogLinearNoise`` of MDLM and ReMDM (arXiv 2503.00307).
    """

    eps: float = 1e-3

    def __post_init__(self) -> None:
        require_number("eps", self.eps, most=1.0)

    def alpha(self, t: float) -> float:
        """See :meth:`Curve.alpha`."""
        return 1.0 if t == 1 else (1 - self.eps) * t


@dataclass(frozen=True)
class Beta(Curve):
    """alpha = sin^2(pi/2 I_t(a, b)), I_t being the distribution function of Beta(a, b).

    The schedules of least energy: (1/2, 1/2) is linear, (1, 1) the squared sine; (0.9, 0.3) and
    (1, 0.2) begin slowly, which its authors found good for few steps on code and mathematics.
    :func:`unmask.schedules.tune_beta` searches (a, b) for a task.

    Source: "Masked Diffusion Models as Energy Minimization" (arXiv 2509.13866).
    """

    a: float = 0.5
    b: float = 0.5

    def __post_init__(self) -> None:
        for name, value in [("a", self.a), ("b", self.b)]:
            require_number(name, value, positive=True)

    def alpha(self, t: float) -> float:
        """See :meth:`Curve.alpha`."""
        return math.sin(math.pi / 2 * beta_cdf(t, self.a, self.b)) ** 2
