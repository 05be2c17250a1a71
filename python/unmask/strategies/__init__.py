"""Which masked tokens may be revealed now: one frozen dataclass per published rule.

Fields carry the papers' names and defaults. Every strategy reveals at least one token per step
while any is masked; :class:`Strategy` says how to write your own.
"""

from unmask.strategies.base import StepInputs, Strategy
from unmask.strategies.dapd import DAPD
from unmask.strategies.klass import KLASS
from unmask.strategies.simple import EntropyBound, Factor, Random, Threshold, TopConfidence

__all__ = [
    "DAPD",
    "KLASS",
    "EntropyBound",
    "Factor",
    "Random",
    "StepInputs",
    "Strategy",
    "Threshold",
    "TopConfidence",
]
