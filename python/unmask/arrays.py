"""The operators on numpy arrays, for people without torch: same names, same rules, CPU only.

Outputs are new arrays; tuples come in the order that unmask.ops documents.
"""

from unmask._C import (
    commit_,
    dapd_select,
    independent_set,
    kl_divergence,
    masked_positions,
    progress_of,
    select,
    tau_at,
    topk_confidence,
)

__all__ = [
    "commit_",
    "dapd_select",
    "independent_set",
    "kl_divergence",
    "masked_positions",
    "progress_of",
    "select",
    "tau_at",
    "topk_confidence",
]
