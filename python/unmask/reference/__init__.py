"""What each operator means, in plain torch and float64. Slow, obvious, the oracle of every test.

One file per operator, same names and arguments. Nothing in the package imports this; tests and
benchmarks do.
"""

from unmask.reference.attention_scores import (
    attention_probs,
    attention_scores,
    attention_scores_from_probs,
)
from unmask.reference.bits import pack_bits, unpack_bits
from unmask.reference.dependency_graph import dependency_graph
from unmask.reference.independent_set import independent_set

__all__ = [
    "attention_probs",
    "attention_scores",
    "attention_scores_from_probs",
    "dependency_graph",
    "independent_set",
    "pack_bits",
    "unpack_bits",
]
