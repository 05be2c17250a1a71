"""The most probable tokens of each masked position, and how sure the model is of them."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from unmask.ops._arguments import maybe_dense, number_or_rows, number_or_single, token_ids


class TopKConfidence(NamedTuple):
    """What one read of the logits says about N nodes; see :func:`topk_confidence`."""

    token: Tensor
    """[B, N] int64, the argmax or a sample; -1 for padding and rows without a usable logit."""
    confidence: Tensor
    """[B, N] float32, the un-tempered probability of ``token``."""
    ids: Tensor
    """[B, N, k] int64, the most probable tokens, best first; -1 where there are fewer."""
    probs: Tensor
    """[B, N, k] float32, their un-tempered probabilities."""
    entropy: Tensor
    """[B, N] float32, nats."""
    logsumexp: Tensor
    """[B, N] float32, of logit_scale * logits; -inf for padding."""


def topk_confidence(
    logits: Tensor,
    positions: Tensor | None = None,
    *,
    k: int = 1,
    temperature: float = 0.0,
    top_k: int = 0,
    top_p: float = 1.0,
    sampler: str = "gumbel",
    logit_scale: float = 1.0,
    row_shift: int = 0,
    row_offset: int = 0,
    suppress_tokens: Tensor | Sequence[int] | None = None,
    seed: int | Tensor = 0,
    step: int | Tensor = 0,
) -> TopKConfidence:
    """Read each masked row of the logits once: token, confidence, top k, entropy, log-sum-exp.

    Probabilities are softmax(logit_scale * logits). NaN, -inf and suppressed tokens never win and
    carry no probability; a +inf wins with probability 1. Ties go to the lower id.

    Args:
        logits: [B, L, V] float32, bfloat16 or float16, V at most 2**20; unit stride over V, any
            other strides. Rows that no node reads are never touched.
        positions: [B, N] int32, padded with -1. Default: one node per row, node n standing at
            position ``row_offset + n``.
        k: how many tokens to rank, 1 to 64.
        temperature: 0 takes the most probable token. Above 0 the token is a sample of
            softmax(logit_scale * logits / temperature), after ``top_k`` and ``top_p``.
        top_k: sample among this many best tokens; 0: all.
        top_p: then among the best whose predecessors carry less than this probability. Both
            filters see the tempered distribution and keep lower ids first among equals.
        sampler: how to draw; both are exact, and from the same seed draw different tokens.
            'gumbel' gives noise to every token. 'two_level' draws from upper bounds of parts of 64
            tokens and reads the few parts that come up, which is less work but for rows that are
            nearly flat or far from 0; it takes neither ``top_k`` nor ``top_p``. What is less
            probable than 2**-42 of the best token is never drawn by it.
        logit_scale: above 0.
        row_shift: position p reads row ``max(p - row_shift - row_offset, 0)``: 1 for models whose
            row i - 1 predicts position i.
        row_offset: the position that the first row of the logits stands for.
        suppress_tokens: [S] int64 ids, treated as -inf. A list is copied to the device first.
        seed: of the noise; an int, or [B] integers with a seed per request, which then draws the
            same in any batch.
        step: an int or an integer tensor with one element, read on the device.

    Returns:
        :class:`TopKConfidence`. A sample depends on seed, row, step and position only, and is the
        same token on every machine; batching and splitting never change it.

    Raises:
        ValueError: a shape, dtype, device, stride or number is not as above; on CPU also a
            position without a row, or a suppressed id outside [0, V).
        NotImplementedError: V > 2**20 or k > 64.

    Source: Gumbel-max sampling on Philox4x32-10 (Salmon et al., SC 2011); nucleus sampling
    (Holtzman et al., arXiv 1904.09751); rejection from a bound that each rejection tightens (Gilks
    and Wild, Applied Statistics 41, 1992).

    Example:
        >>> logits = torch.tensor([[[0.0, 2.0, 1.0]]])
        >>> result = topk_confidence(logits, k=2)
        >>> result.ids.tolist(), [round(p, 3) for p in result.probs.flatten().tolist()]
        ([[[1, 2]]], [0.665, 0.245])
    """
    seed, request_seeds = number_or_rows("seed", seed)
    step, device_step = number_or_single("step", step)
    return TopKConfidence(
        *torch.ops.unmask.topk_confidence(
            logits,
            maybe_dense(positions),
            k=k,
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            sampler=sampler,
            logit_scale=logit_scale,
            row_shift=row_shift,
            row_offset=row_offset,
            suppress_tokens=token_ids("suppress_tokens", suppress_tokens, logits.device),
            seed=seed,
            step=step,
            request_seeds=request_seeds,
            device_step=device_step,
        )
    )


@torch.library.register_fake("unmask::topk_confidence")
def _(
    logits: Tensor,
    positions: Tensor | None = None,
    *,
    k: int = 1,
    temperature: float = 0.0,
    top_k: int = 0,
    top_p: float = 1.0,
    sampler: str = "gumbel",
    logit_scale: float = 1.0,
    row_shift: int = 0,
    row_offset: int = 0,
    suppress_tokens: Tensor | None = None,
    seed: int = 0,
    step: int = 0,
    request_seeds: Tensor | None = None,
    device_step: Tensor | None = None,
) -> tuple[Tensor, ...]:
    shape = tuple((logits[..., 0] if positions is None else positions).shape)

    def integers(*shape: int) -> Tensor:
        return logits.new_empty(shape, dtype=torch.int64)

    def floats(*shape: int) -> Tensor:
        return logits.new_empty(shape, dtype=torch.float32)

    return (
        integers(*shape),
        floats(*shape),
        integers(*shape, k),
        floats(*shape, k),
        floats(*shape),
        floats(*shape),
    )
