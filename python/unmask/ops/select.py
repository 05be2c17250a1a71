"""Which nodes may be revealed now, judged by each node's own distribution."""

import torch
from torch import Tensor

from unmask.ops._arguments import dense, maybe_dense, number_or_rows, number_or_single


def select(
    confidence: Tensor,
    token: Tensor,
    rule: str,
    limit: float,
    *,
    entropy: Tensor | None = None,
    eligible: Tensor | None = None,
    positions: Tensor | None = None,
    seed: int | Tensor = 0,
    step: int | Tensor = 0,
) -> Tensor:
    """Select the nodes that a rule reveals in this step.

    A node takes part when it has a token (``token >= 0``) and is eligible. If the rule selects
    nobody, the most confident node with a token is selected, eligible or not: every step makes
    progress. Ties go to the lower node, NaN comes last.

    ============= ==================================================================== =============
    rule          selects                                                              source
    ============= ==================================================================== =============
    'top'         the ``limit`` nodes of highest confidence                            LLaDA
    'random'      ``limit`` nodes at random                                            LLaDA
    'threshold'   every node with confidence >= ``limit``                              Fast-dLLM
    'factor'      in descending confidence c_1, c_2, ..., node 1 and then the longest  Fast-dLLM
                  run of nodes n = 2, 3, ... with ``(n + 1) * (1 - c_n) <= limit``
    'entropy'     in ascending entropy, node 1 and then the longest run over which     EB-Sampler
                  ``sum of entropies - largest entropy <= limit``
    ============= ==================================================================== =============

    All comparisons and sums are float32, in the order stated, so that the CPU and every GPU
    select the same nodes.

    Args:
        confidence: [B, N] float32.
        token: [B, N] int64; negative: padding, or nothing to reveal.
        rule: one of the words above.
        limit: the rule's one number; a whole number >= 1 for 'top' and 'random', >= 0 for
            'factor' and 'entropy'.
        entropy: [B, N] float32 in nats; needed by 'entropy' only.
        eligible: [B, N] bool, who the rule may look at; default: everyone.
        positions: [B, N] int32. 'random' draws by position, so that a node keeps its draw
            wherever it is listed; default: the node's own index.
        seed: for 'random': a number (sequence b draws from stream b), or an int64 tensor [B] with
            one seed per request (a request then draws the same in any batch).
        step: for 'random': a number, or an integer tensor with one element on the same device.
            Its low 32 bits count.

    Returns:
        [B, N] bool.

    Raises:
        ValueError: a shape, dtype, device, stride, word or limit is not as above.
        NotImplementedError: N > 8192.

    Source: LLaDA (arXiv 2502.09992), Fast-dLLM (arXiv 2505.22618), EB-Sampler (arXiv 2505.24857).

    Example:
        >>> confidence, token = torch.tensor([[0.5, 0.95, 0.91]]), torch.tensor([[4, 5, 6]])
        >>> select(confidence, token, "threshold", 0.9).tolist()
        [[False, True, True]]
    """
    seed, request_seeds = number_or_rows("seed", seed)
    step, device_step = number_or_single("step", step)
    return torch.ops.unmask.select(
        dense(confidence),
        dense(token),
        rule=rule,
        limit=limit,
        entropy=maybe_dense(entropy),
        eligible=maybe_dense(eligible),
        positions=maybe_dense(positions),
        seed=seed,
        step=step,
        request_seeds=request_seeds,
        device_step=device_step,
    )


@torch.library.register_fake("unmask::select")
def _(
    confidence: Tensor,
    token: Tensor,
    rule: str,
    limit: float,
    entropy: Tensor | None = None,
    eligible: Tensor | None = None,
    positions: Tensor | None = None,
    seed: int = 0,
    step: int = 0,
    request_seeds: Tensor | None = None,
    device_step: Tensor | None = None,
) -> Tensor:
    return torch.empty_like(confidence, dtype=torch.bool)
