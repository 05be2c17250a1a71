"""One decoding step, fused: confidences, selection and commit, in place.

Every function here equals the composition of the operators, to the bit:

1. ``masked_positions`` over the window, unless ``positions`` are given;
2. ``topk_confidence`` of their logits;
3. ``select`` with the function's rule, or ``dependency_graph`` and ``dapd_select``;
4. ``commit_`` into ``tokens``.

The host reads nothing back, and tensors of the documented type are used where they lie, so that a
step may be captured in a CUDA graph and replayed with other contents. A list in ``suppress_tokens``
is copied to the device at every call: a capture needs a tensor there. Numbers in ``seed`` and
``step`` become part of the graph.

What all of them take: :class:`StepOptions`; what all of them return: :class:`StepResult`; what all
of them raise: ValueError for a shape, dtype, device, stride, word or number that is not as
documented (before any token is written; on the CPU also for a position outside the sequence),
NotImplementedError beyond N = 8192 nodes or V = 2**20 tokens.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple, TypedDict

import torch
from torch import Tensor
from typing_extensions import Unpack

from unmask._checks import require_count, require_number
from unmask.ops._arguments import dense, single, token_ids, whole_number, whole_numbers
from unmask.ops.masked_positions import node_count


class StepResult(NamedTuple):
    """What a step did."""

    committed: Tensor
    """[B] int32, tokens written."""
    remaining: Tensor
    """[B] int32, mask tokens left in the whole row afterwards."""
    selected: Tensor
    """[B, N] bool, the nodes revealed."""


class StepOptions(TypedDict, total=False):
    """Keyword arguments that every step takes, all optional.

    A model that may predict the mask token itself needs it in ``suppress_tokens``; otherwise a
    mask may be "revealed" as a mask.
    """

    positions: Tensor | None
    """[B, N] int32, ascending, padded with -1; default: the masks of the window. A position given
    here is written when it is selected, masked or not."""
    start: int | Tensor
    """First position of the window, as in :func:`masked_positions`; default 0."""
    stop: int | Tensor | None
    """One past its last position, as in :func:`masked_positions`; default L."""
    temperature: float
    """This and all below: as in :func:`topk_confidence`, with the same defaults."""
    top_k: int
    top_p: float
    sampler: str
    logit_scale: float
    row_shift: int
    row_offset: int
    suppress_tokens: Tensor | Sequence[int] | None
    seed: int | Tensor
    step: int | Tensor


class SelectStepOptions(StepOptions, total=False):
    """The same and one more, where no scores say how many nodes there are."""

    capacity: int | None
    """N, as in :func:`masked_positions`."""


def dapd_step_(
    tokens: Tensor,
    logits: Tensor,
    scores: Tensor,
    *,
    mask_id: int,
    gen_length: Tensor | None = None,
    tau_min: float = 0.01,
    tau_max: float = 0.15,
    edge: str = "rowmax",
    normalize: bool = False,
    order: str = "degree*confidence",
    precommit: float | None = None,
    late: str | None = None,
    late_threshold: float = 0.9,
    late_progress: float = 0.5,
    **options: Unpack[StepOptions],
) -> StepResult:
    """Reveal an independent set of the dependency graph (DAPD).

    The threshold of a row is ``tau_min + (tau_max - tau_min) * (1 - remaining / gen_length)`` in
    float32, where ``remaining`` counts the masks of the whole row before this step.

    Args:
        tokens: [B, L] int64 or int32, written in place.
        logits: [B, rows, V] float32, bfloat16 or float16.
        scores: [B, N, N] float32, from :func:`attention_scores` at the same positions.
        mask_id: the token that stands for "not yet revealed".
        gen_length: [B] integer, masks of each row before the first step. Default: those it has
            now, which makes the threshold tau_min.
        tau_min: threshold while everything is masked.
        tau_max: threshold when everything is revealed.
        edge: this and ``normalize`` as in :func:`dependency_graph`.
        normalize: as in :func:`dependency_graph`.
        order: this and all below as in :func:`dapd_select`.
        precommit: as in :func:`dapd_select`.
        late: as in :func:`dapd_select`.
        late_threshold: as in :func:`dapd_select`.
        late_progress: as in :func:`dapd_select`.
        **options: :class:`StepOptions`. Without ``positions`` the nodes are the first N masks of
            the window, N being that of ``scores``.

    Source: DAPD (arXiv 2603.12996).
    """
    committed, remaining, selected = torch.ops.unmask.dapd_step_(
        tokens,
        logits,
        dense(scores),
        mask_id=mask_id,
        gen_length=_counts("gen_length", gen_length),
        tau_min=tau_min,
        tau_max=tau_max,
        edge=edge,
        normalize=normalize,
        order=order,
        precommit=precommit,
        late=late,
        late_threshold=late_threshold,
        late_progress=late_progress,
        **_in_schema(StepOptions, options, tokens.device),
    )
    return StepResult(committed, remaining, selected)


def threshold_step_(
    tokens: Tensor,
    logits: Tensor,
    *,
    mask_id: int,
    threshold: float = 0.9,
    **options: Unpack[SelectStepOptions],
) -> StepResult:
    """Reveal every node with confidence >= threshold, and at least the most confident one.

    Args:
        tokens: [B, L] int64 or int32, written in place.
        logits: [B, rows, V] float32, bfloat16 or float16.
        mask_id: the token that stands for "not yet revealed".
        threshold: of rule 'threshold' in :func:`select`.
        **options: :class:`SelectStepOptions`.

    Source: Fast-dLLM (arXiv 2505.22618).

    Example:
        >>> tokens, logits = torch.tensor([[1, 0, 0]]), torch.zeros(1, 3, 3)
        >>> logits[0, 2, 1] = 9.0
        >>> threshold_step_(tokens, logits, mask_id=0).committed.tolist(), tokens.tolist()
        ([1], [[1, 0, 1]])
    """
    require_number("threshold", threshold)
    return _select_step_("threshold", threshold, tokens, logits, mask_id, options)


def factor_step_(
    tokens: Tensor,
    logits: Tensor,
    *,
    mask_id: int,
    factor: float = 1.0,
    **options: Unpack[SelectStepOptions],
) -> StepResult:
    """Reveal nodes in descending confidence while ``(n + 1) * (1 - c_n) <= factor``.

    Arguments as in :func:`threshold_step_`, the rule as in :func:`select`. Source: Fast-dLLM
    (arXiv 2505.22618).
    """
    require_number("factor", factor)
    return _select_step_("factor", factor, tokens, logits, mask_id, options)


def entropy_bound_step_(
    tokens: Tensor,
    logits: Tensor,
    *,
    mask_id: int,
    gamma: float = 0.1,
    **options: Unpack[SelectStepOptions],
) -> StepResult:
    """Reveal nodes in ascending entropy while all entropies but the largest add up to <= gamma.

    Arguments as in :func:`threshold_step_`, the rule as in :func:`select`. Source: EB-Sampler
    (arXiv 2505.24857).
    """
    require_number("gamma", gamma)
    return _select_step_("entropy", gamma, tokens, logits, mask_id, options)


def top_confidence_step_(
    tokens: Tensor,
    logits: Tensor,
    *,
    mask_id: int,
    tokens_per_step: int = 1,
    **options: Unpack[SelectStepOptions],
) -> StepResult:
    """Reveal the ``tokens_per_step`` most confident nodes.

    Other arguments as in :func:`threshold_step_`. Source: LLaDA (arXiv 2502.09992).
    """
    require_count("tokens_per_step", tokens_per_step, least=1)
    return _select_step_("top", tokens_per_step, tokens, logits, mask_id, options)


def random_step_(
    tokens: Tensor,
    logits: Tensor,
    *,
    mask_id: int,
    tokens_per_step: int = 1,
    **options: Unpack[SelectStepOptions],
) -> StepResult:
    """Reveal ``tokens_per_step`` nodes at random; ``seed`` and ``step`` say which.

    Other arguments as in :func:`threshold_step_`, the draw as in :func:`select`. Source: LLaDA
    (arXiv 2502.09992).
    """
    require_count("tokens_per_step", tokens_per_step, least=1)
    return _select_step_("random", tokens_per_step, tokens, logits, mask_id, options)


def _select_step_(
    rule: str,
    limit: float,
    tokens: Tensor,
    logits: Tensor,
    mask_id: int,
    options: SelectStepOptions,
) -> StepResult:
    committed, remaining, selected = torch.ops.unmask.select_step_(
        tokens,
        logits,
        mask_id=mask_id,
        rule=rule,
        limit=limit,
        **_in_schema(SelectStepOptions, options, tokens.device),
    )
    return StepResult(committed, remaining, selected)


def _in_schema(kind: Any, options: Any, device: torch.device) -> dict[str, Any]:
    """Where a tensor was given for a number, it goes by the name the schema has for it."""
    unknown = [name for name in options if name not in kind.__optional_keys__]
    if unknown:
        raise TypeError(f"a step has no argument named {unknown[0]!r}")
    arguments = dict(options)
    for name, tensor_name, convert in [
        ("start", "row_start", whole_numbers),
        ("stop", "row_stop", whole_numbers),
        ("seed", "request_seeds", whole_numbers),
        ("step", "device_step", single),
    ]:
        value = arguments.get(name)
        if isinstance(value, Tensor):
            arguments[tensor_name] = convert(name, arguments.pop(name))
        elif value is not None:
            arguments[name] = whole_number(name, value)
    if arguments.get("positions") is not None:
        arguments["positions"] = dense(arguments["positions"])
    arguments["suppress_tokens"] = token_ids(
        "suppress_tokens", arguments.get("suppress_tokens"), device
    )
    return arguments


def _counts(name: str, counts: Tensor | None) -> Tensor | None:
    if counts is None:
        return None
    if not isinstance(counts, Tensor):
        raise ValueError(f"{name} must be an integer tensor [B], got {counts!r}")
    if counts.dtype == torch.int32:
        return dense(counts)
    return whole_numbers(name, counts).to(torch.int32)


def _new_result(tokens: Tensor, nodes: int) -> tuple[Tensor, Tensor, Tensor]:
    batch = tokens.shape[0]
    counts = tokens.new_empty(batch, dtype=torch.int32)
    selected = tokens.new_empty((batch, nodes), dtype=torch.bool)
    return counts, torch.empty_like(counts), selected


@torch.library.register_fake("unmask::select_step_")
def _(
    tokens: Tensor,
    logits: Tensor,
    positions: Tensor | None = None,
    start: int = 0,
    stop: int | None = None,
    capacity: int | None = None,
    row_start: Tensor | None = None,
    row_stop: Tensor | None = None,
    **others: object,
) -> tuple[Tensor, Tensor, Tensor]:
    if positions is not None:
        return _new_result(tokens, positions.shape[1])
    return _new_result(tokens, node_count(tokens, start, stop, capacity, row_start, row_stop))


@torch.library.register_fake("unmask::dapd_step_")
def _(
    tokens: Tensor, logits: Tensor, scores: Tensor, positions: Tensor | None = None, **o: object
) -> tuple[Tensor, Tensor, Tensor]:
    return _new_result(tokens, scores.shape[1])
