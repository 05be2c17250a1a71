"""A maximal independent set of one large, sparse conflict graph."""

import torch
from torch import Tensor

from unmask.ops._arguments import dense, maybe_dense


def independent_set_csr(
    indptr: Tensor,
    indices: Tensor,
    priority: Tensor,
    *,
    eligible: Tensor | None = None,
    symmetric: bool = False,
) -> Tensor:
    """Choose what :func:`independent_set` chooses, from compressed sparse rows.

    Args:
        indptr: [N + 1] int32 or int64. Row i is ``indices[indptr[i]:indptr[i + 1]]``.
        indices: [E] int32. Row i lists the nodes that, once taken, exclude node i; in any order.
        priority: [N] float32. Higher is visited first, ties to the lower index, NaN last.
        eligible: [N] bool, who may be taken; default: everyone.
        symmetric: the promise that j is in row i exactly when i is in row j. It is not checked.
            Faster on the CPU: a taken node strikes out its own row, and no other row is read.

    Returns:
        [N] bool.

    Raises:
        ValueError: a shape, dtype, device or stride is not as above; on the CPU also a row or an
            index outside its array, if the scan meets it.
        NotImplementedError: N > 2**31 - 1.

    Example:
        >>> indptr, indices = torch.tensor([0, 1, 3, 4]), torch.tensor([1, 0, 2, 1]).int()
        >>> independent_set_csr(indptr, indices, torch.tensor([3.0, 2.0, 1.0])).tolist()
        [True, False, True]
    """
    return torch.ops.unmask.independent_set_csr(
        dense(indptr),
        dense(indices),
        dense(priority),
        eligible=maybe_dense(eligible),
        symmetric=symmetric,
    )


@torch.library.register_fake("unmask::independent_set_csr")
def _(
    indptr: Tensor,
    indices: Tensor,
    priority: Tensor,
    eligible: Tensor | None = None,
    symmetric: bool = False,
) -> Tensor:
    return torch.empty_like(priority, dtype=torch.bool)
