"""The operators on numpy arrays, for people without torch: same names, same rules, CPU only.

Outputs are new arrays; tuples come in the order that unmask.ops documents.
"""

from unmask._C import (
    independent_set,
    kl_divergence,
    topk_confidence,
)

__all__ = [
    "independent_set",
    "kl_divergence",
    "topk_confidence",
]
