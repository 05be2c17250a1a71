"""Sizes that are safe for every law of a given total or dual total correlation.

Positions are revealed in random order. With R_m the distance from m to the first step boundary at
or behind it, the expected divergence of the decoded text from the truth is at most c TC for every
law exactly where R_m <= c (L - m) for all m, and at most c DTC where R_m <= c m: see
:mod:`unmask.schedules.kl`, which also computes c for any sizes.

Source: the setting of "distribution-agnostic" schedules is arXiv 2602.20126; these sizes are the
smallest deterministic ones that meet the bound, derived here from the identity in
:mod:`unmask.schedules.kl`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

from unmask.schedules.base import Schedule

Rule = Callable[[int, int, Fraction], int]  # revealed, left, c -> size of the next step


@dataclass(frozen=True)
class TCAdaptive(Schedule):
    """1 + floor(c (r - 1)) tokens while r are left: large steps first.

    Good where the total correlation is small: few constraints between many tokens.
    """

    def _sizes(self, masks: int, steps: int) -> list[int]:
        return _least(masks, steps, lambda revealed, left, c: 1 + int(c * (left - 1)))


@dataclass(frozen=True)
class DTCAdaptive(Schedule):
    """1 + floor(c (k + 1)) tokens once k are revealed: small steps first.

    Good where the dual total correlation is small: a few tokens decide all others.
    """

    def _sizes(self, masks: int, steps: int) -> list[int]:
        return _least(masks, steps, lambda revealed, left, c: 1 + int(c * (revealed + 1)))


def _least(masks: int, steps: int, rule: Rule) -> list[int]:
    """The sizes of the smallest c that needs no more than `steps` steps, by bisection; if that c
    needs fewer, the largest are halved, which only helps."""
    low, high = Fraction(0), Fraction(max(masks, 1))
    for _ in range(masks.bit_length() * 2 + 8):  # finer than two different breakpoints of a floor
        middle = (low + high) / 2
        if len(_walk(masks, middle, rule)) <= steps:
            high = middle
        else:
            low = middle
    sizes = _walk(masks, high, rule)
    while len(sizes) < min(steps, masks):
        largest = max(range(len(sizes)), key=lambda k: (sizes[k], -k))
        whole = sizes[largest]
        sizes[largest : largest + 1] = [(whole + 1) // 2, whole // 2]
    return sizes + [0] * (steps - len(sizes))


def _walk(masks: int, c: Fraction, rule: Rule) -> list[int]:
    sizes: list[int] = []
    revealed = 0
    while revealed < masks:
        sizes.append(min(rule(revealed, masks - revealed, c), masks - revealed))
        revealed += sizes[-1]
    return sizes
