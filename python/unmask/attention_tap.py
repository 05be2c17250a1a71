"""Attention between masked positions, collected while a model runs."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from unmask._checks import require_layers
from unmask.ops.attention_scores import attention_scores

ROUNDING = 1e-9  # 10 * (1 - 0.9) is a little less than 1


class AttentionTap:
    """Collects :func:`unmask.attention_scores` of some layers during a forward pass.

    It listens to ``torch.nn.functional.scaled_dot_product_attention`` and changes nothing: the
    model computes what it would have computed, and no attention matrix is materialised.

    Each ``with`` is exactly one forward pass. The first one learns how often the model calls
    attention; it keeps the queries and keys of the layers that may still be chosen until it ends.
    Later passes compute on the fly and keep nothing.

    Counted are self-attention calls (as many keys as queries) with [B, H, L, D] inputs, in the
    order they happen; ``attn_mask``, ``is_causal``, ``scale`` and ``enable_gqa`` are honoured,
    dropout is not applied to the scores. ``torch.nn.MultiheadAttention`` counts too, if it runs
    without ``need_weights``. Attention made by anything else (flash_attn, FlexAttention, eager
    matmul and softmax) cannot be heard. A model under torch.compile is heard too, its graph broken
    at every attention call while the tap listens, and whole again afterwards; with
    ``fullgraph=True`` torch refuses.

    Args:
        model: the model that will run; errors name it.
        layers: a fraction rho in (0, 1], the last ``max(1, n - floor(n * (1 - rho)))`` of n
            attention calls, or a list of their indices, negative ones counted from the last.
        apart: keep the chosen layers apart instead of averaging them: a matrix for each.

    Example:
        >>> def model(x):
        ...     return torch.nn.functional.scaled_dot_product_attention(x, x, x)
        >>> tap = AttentionTap(model)
        >>> with tap(torch.tensor([[1, 3]], dtype=torch.int32)):
        ...     _ = model(torch.zeros(1, 2, 4, 8))
        >>> tap.scores.tolist()
        [[[0.25, 0.25], [0.25, 0.25]]]

    Source: DAPD (arXiv 2603.12996), which averages the last 30 % of the layers.
    """

    def __init__(
        self,
        model: Callable[..., object],
        layers: float | Sequence[int] = 0.3,
        *,
        apart: bool = False,
    ) -> None:
        self._name = getattr(model, "__name__", type(model).__name__)
        self._layers = _Layers(layers)
        self._apart = apart
        self._scores: Tensor | None = None
        self._calls: int | None = None

    @property
    def scores(self) -> Tensor:
        """[B, N, N] float32 of the last pass: the mean over the chosen layers and their heads.

        With ``apart`` it is [layers, B, N, N], in the order in which the model calls them.
        """
        if self._scores is None:
            raise RuntimeError(
                "the tap has no scores yet: run the model inside `with tap(positions):` first"
            )
        return self._scores

    @property
    def layers_seen(self) -> int | None:
        """How often the model called attention in a pass; None before the first."""
        return self._calls

    def reset(self) -> None:
        """Forget the scores and the number of calls, for example before another model runs."""
        self._scores = None
        self._calls = None

    def __call__(self, positions: Tensor) -> "_Pass":
        """Listen to one forward pass: ``with tap(positions): logits = model(ids)``.

        Args:
            positions: [B, N] int32 from :func:`unmask.masked_positions`; -1 pads.

        Raises (when the ``with`` ends):
            RuntimeError: no attention call was heard, or not as many as in the passes before.
            ValueError: ``layers`` names a call that the model does not make.
        """
        return _Pass(self, positions)

    def _finish(self, listened: "_Pass") -> None:
        self._scores = None
        if listened.calls == 0:
            raise RuntimeError(
                f"{self._name} never called scaled_dot_product_attention on [B, H, L, D] with as "
                f"many keys as queries ({listened.unequal} calls had other numbers of keys): load "
                'it with attn_implementation="sdpa", or pass the probabilities it returns to '
                "unmask.attention_scores_from_probs, or use a strategy that needs no attention"
            )
        if self._calls is not None and listened.calls != self._calls:
            raise RuntimeError(
                f"{self._name} called attention {listened.calls} times, but {self._calls} times "
                "in the passes before: put exactly one forward pass into each `with "
                "tap(positions):`, and call tap.reset() when the model has changed"
            )
        if self._calls is None:
            listened.learn()
            self._calls = listened.calls
        self._scores = torch.stack(listened.parts) if self._apart else listened.scores


class _Layers:
    """Which of n attention calls are wanted, where n is known only afterwards."""

    def __init__(self, wanted: float | Sequence[int]) -> None:
        require_layers("layers", wanted)
        self._wanted = wanted

    def chosen(self, calls: int) -> frozenset[int]:
        """Their indices, when the model makes this many calls."""
        if not isinstance(self._wanted, Sequence):
            share = max(1, calls - math.floor(calls * (1 - self._wanted) + ROUNDING))
            return frozenset(range(calls - share, calls))
        for index in self._wanted:
            if not -calls <= index < calls:
                raise ValueError(
                    f"layers must be in {-calls}..{calls - 1} for a model that calls attention "
                    f"{calls} times, got {index}"
                )
        return frozenset(index % calls for index in self._wanted)

    def possible(self, index: int, calls: int) -> bool:
        """Could call `index` still be chosen, after `calls` calls and perhaps more to come?"""
        if not isinstance(self._wanted, Sequence):
            return index in self.chosen(calls)  # the first chosen one only moves up
        return any(index == w or (w < 0 and index >= calls + w) for w in self._wanted)


class _Call(NamedTuple):
    """What one attention call computes its probabilities from."""

    query: Tensor
    key: Tensor
    mask: Tensor | None
    causal: bool
    scale: float | None


def _arguments(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> _Call:
    """The parameters of scaled_dot_product_attention, however they were passed."""
    return _Call(query.detach(), key.detach(), attn_mask, is_causal, scale)


class _Pass(TorchFunctionMode):
    """One forward pass being listened to."""

    def __init__(self, tap: AttentionTap, positions: Tensor) -> None:
        super().__init__()
        batch, nodes = positions.shape
        self.positions = positions
        self.scores = positions.new_zeros(batch, nodes, nodes, dtype=torch.float32)
        self.parts: list[Tensor] = []  # instead, where the layers are kept apart
        self.calls = 0
        self.unequal = 0
        self._tap = tap
        self._kept: dict[int, _Call] = {}
        known = tap.layers_seen
        self._chosen = None if known is None else tap._layers.chosen(known)

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if func is functional.multi_head_attention_forward:
            with self._inside_of_a_function():
                return func(*args, **kwargs)
        if func is functional.scaled_dot_product_attention:
            self._hear(_arguments(*args, **kwargs))
        return func(*args, **kwargs)

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> None:
        super().__exit__(exc_type, exc_val, exc_tb)  # type: ignore[no-untyped-call]
        if exc_type is None:
            self._tap._finish(self)
        self._kept.clear()

    def learn(self) -> None:
        """The number of calls is known now: compute the scores of those that were kept for it."""
        chosen = self._tap._layers.chosen(self.calls)
        for index in sorted(chosen):
            self._add(self._kept.pop(index), 1 / len(chosen))

    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def _hear(self, call: _Call) -> None:
        if call.query.dim() != 4:
            raise ValueError(
                "the tap needs attention inputs [B, H, L, D], but the model called "
                f"scaled_dot_product_attention with query {list(call.query.shape)}"
            )
        if call.query.shape[2] != call.key.shape[2]:
            self.unequal += 1
            return
        index, self.calls = self.calls, self.calls + 1
        if self._chosen is None:
            self._kept[index] = call
            for old in [i for i in self._kept if not self._tap._layers.possible(i, self.calls)]:
                del self._kept[old]
        elif index in self._chosen:
            self._add(call, 1 / len(self._chosen))

    def _add(self, call: _Call, weight: float) -> None:
        if self._tap._apart:
            self.parts.append(torch.zeros_like(self.scores))
        attention_scores(
            _unit_stride(call.query),
            _unit_stride(call.key),
            self.positions,
            scale=call.scale,
            attn_mask=call.mask,
            is_causal=call.causal,
            out=self.parts[-1] if self.parts else self.scores,
            weight=1.0 if self.parts else weight,
        )

    @contextmanager
    def _inside_of_a_function(self) -> Iterator[None]:
        """Hear attention that a function of torch calls by its module's name.

        Torch hands such a function over whole and stops listening while it runs.
        """
        original = functional.scaled_dot_product_attention

        def heard(*args: Any, **kwargs: Any) -> Tensor:
            self._hear(_arguments(*args, **kwargs))
            return original(*args, **kwargs)

        functional.scaled_dot_product_attention = heard
        try:
            yield
        finally:
            functional.scaled_dot_product_attention = original


def _unit_stride(heads: Tensor) -> Tensor:
    return heads if heads.stride(-1) == 1 else heads.contiguous()
