"""The operators on numpy arrays, for people without torch: same names, same rules, CPU only.

Outputs are new arrays; tuples come in the order that unmask.ops documents. Arrays must have the
dtype that is documented and, but for logits and tokens, be contiguous. The fused steps take their
positions; those of single rules are one function here, ``select_step_``, with the rule as a word.
``tau_at`` and ``progress_of`` are DAPD's schedule, for loops without torch.
"""

from unmask._C import (
    attention_scores,
    attention_scores_from_probs,
    commit_,
    dapd_select,
    dapd_step_,
    dependency_graph,
    independent_set,
    independent_set_csr,
    kl_divergence,
    masked_positions,
    progress_of,
    select,
    select_step_,
    tau_at,
    topk_confidence,
)

__all__ = [
    "attention_scores",
    "attention_scores_from_probs",
    "commit_",
    "dapd_select",
    "dapd_step_",
    "dependency_graph",
    "independent_set",
    "independent_set_csr",
    "kl_divergence",
    "masked_positions",
    "progress_of",
    "select",
    "select_step_",
    "tau_at",
    "topk_confidence",
]
