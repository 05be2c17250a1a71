"""The operators, documented. B sequences, L positions, V tokens, N nodes (masked positions).

One file per operator, named like its C++ half: the function, and its fake for torch.compile.
"""

from unmask import _library

_library.load()  # before the files below, which describe the operators to torch.compile

from unmask.ops.commit import commit_  # noqa: E402
from unmask.ops.dapd_select import dapd_select  # noqa: E402
from unmask.ops.independent_set import independent_set  # noqa: E402
from unmask.ops.kl_divergence import kl_divergence  # noqa: E402
from unmask.ops.masked_positions import masked_positions  # noqa: E402
from unmask.ops.select import select  # noqa: E402
from unmask.ops.topk_confidence import TopKConfidence, topk_confidence  # noqa: E402

__all__ = [
    "TopKConfidence",
    "commit_",
    "dapd_select",
    "independent_set",
    "kl_divergence",
    "masked_positions",
    "select",
    "topk_confidence",
]
