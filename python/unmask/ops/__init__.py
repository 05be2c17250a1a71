"""The operators, documented. B sequences, L positions, V tokens, N nodes (masked positions).

One file per operator, named like its C++ half: the function, and its fake for torch.compile.
"""

from unmask import _library

_library.load()  # before the files below, which describe the operators to torch.compile

from unmask.ops.attention_scores import (  # noqa: E402
    attention_scores,
    attention_scores_from_probs,
)
from unmask.ops.dependency_graph import DependencyGraph, dependency_graph  # noqa: E402
from unmask.ops.independent_set import independent_set  # noqa: E402

__all__ = [
    "DependencyGraph",
    "attention_scores",
    "attention_scores_from_probs",
    "dependency_graph",
    "independent_set",
]
