"""A fused step is the composition of the operators, to the bit, and reports what it did."""

from collections.abc import Callable
from itertools import product
from typing import Any

import pytest
import torch
import unmask
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from unmask import dapd_step_, masked_positions, reference, threshold_step_
from unmask.ops import StepResult

MASK = 9
VOCABULARY = 40
RULES = {
    "threshold": (unmask.threshold_step_, "threshold", 0.3),
    "factor": (unmask.factor_step_, "factor", 2.5),
    "entropy": (unmask.entropy_bound_step_, "gamma", 2.0),
    "top": (unmask.top_confidence_step_, "tokens_per_step", 3),
    "random": (unmask.random_step_, "tokens_per_step", 3),
}
SAMPLINGS: list[dict[str, Any]] = [
    {},
    {"temperature": 0.7, "top_k": 5, "top_p": 0.9, "seed": 3, "step": 2},
    {"logit_scale": 2.0, "row_shift": 1, "suppress_tokens": [MASK, 3]},
]


def random_case(
    batch: int, length: int, rng: torch.Generator, dtype: torch.dtype = torch.int64
) -> tuple[Tensor, Tensor]:
    """Tokens and logits; the first row is all masks, the last has none."""

    def uniform(*shape: int) -> Tensor:
        return torch.rand(shape, generator=rng, device=rng.device)

    masked = uniform(batch, length) < torch.linspace(1, 0, batch, device=rng.device)[:, None]
    tokens = torch.where(masked, MASK, 1).to(dtype)
    logits = (uniform(batch, length, VOCABULARY) * 3).round()  # many ties
    logits[..., 5] += 6 * uniform(batch, length)
    logits[:, -1] = float("nan")  # a position with nothing to reveal
    return tokens, logits


def assert_same(result: StepResult, expected: StepResult) -> None:
    for name, ours, theirs in zip(StepResult._fields, result, expected, strict=True):
        assert ours.dtype == theirs.dtype, name
        assert torch.equal(ours, theirs), name


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("dtype", [torch.int64, torch.int32])
@pytest.mark.parametrize("sampling", SAMPLINGS, ids=str)
@pytest.mark.parametrize("length", [1, 33, 70])
def test_equals_the_operators(
    rule: str, dtype: torch.dtype, sampling: dict[str, Any], length: int, rng: torch.Generator
) -> None:
    step, argument, limit = RULES[rule]
    start = torch.tensor([0, 0, length // 2, 0], device=rng.device)
    for window in ({}, {"start": length // 3, "capacity": 20}, {"start": start, "stop": length}):
        tokens, logits = random_case(4, length, rng, dtype)
        other = tokens.clone()
        result = step(tokens, logits, mask_id=MASK, **{argument: limit}, **window, **sampling)
        expected = reference.select_step_(
            other, logits, mask_id=MASK, rule=rule, limit=limit, **window, **sampling
        )
        assert_same(result, expected)
        assert torch.equal(tokens, other)


DAPD_CONFIGURATIONS: list[dict[str, Any]] = [
    {"normalize": normalize, "late": late, "precommit": precommit}
    for normalize, late, precommit in product([False, True], [None, "union", "switch"], [None, 0.5])
]


@pytest.mark.parametrize("sampling", SAMPLINGS, ids=str)
@pytest.mark.parametrize("edge", ["rowmax", "rowsum", "raw"])
def test_dapd_equals_the_operators(
    sampling: dict[str, Any], edge: str, rng: torch.Generator
) -> None:
    nodes, length = 34, 50
    for number, configuration in enumerate(DAPD_CONFIGURATIONS):
        dtype = torch.int32 if number // 2 % 2 else torch.int64
        tokens, logits = random_case(3, length, rng, dtype)
        scores = torch.rand(3, nodes, nodes, generator=rng, device=rng.device) ** 8
        gen_length = torch.tensor([50, 60, 0], device=rng.device).int()
        options = configuration | {"tau_max": 0.5, "late_threshold": 0.4, "late_progress": 0.3}
        if number % 2:
            options["gen_length"] = gen_length
        window = {"start": 10, "stop": 45} if number % 3 else {}
        other = tokens.clone()
        result = dapd_step_(
            tokens, logits, scores, mask_id=MASK, edge=edge, **options, **window, **sampling
        )
        expected = reference.dapd_step_(
            other, logits, scores, mask_id=MASK, edge=edge, **options, **window, **sampling
        )
        assert_same(result, expected)
        assert torch.equal(tokens, other)


def test_given_positions_are_the_nodes(rng: torch.Generator) -> None:
    tokens, logits = random_case(3, 50, rng)
    positions = masked_positions(tokens, MASK, capacity=24)[:, ::2].contiguous()
    scores = torch.rand(3, 12, 12, generator=rng, device=rng.device)
    shared: dict[str, Any] = {"mask_id": MASK, "positions": positions}
    mine, theirs = tokens.clone(), tokens.clone()
    result = threshold_step_(mine, logits, threshold=0.5, **shared)
    expected = reference.select_step_(theirs, logits, rule="threshold", limit=0.5, **shared)
    assert_same(result, expected)
    assert torch.equal(mine, theirs)
    result = dapd_step_(mine, logits, scores, **shared)
    assert_same(result, reference.dapd_step_(theirs, logits, scores, **shared))
    assert torch.equal(mine, theirs)


def test_seeds_and_steps_on_the_device(rng: torch.Generator) -> None:
    tokens, logits = random_case(3, 50, rng)
    sampling = {
        "temperature": 1.0,
        "seed": torch.tensor([5, 6, 7], device=rng.device),
        "step": torch.tensor([4], device=rng.device),
    }
    other = tokens.clone()
    result = unmask.random_step_(tokens, logits, mask_id=MASK, tokens_per_step=9, **sampling)
    expected = reference.select_step_(
        other, logits, mask_id=MASK, rule="random", limit=9, **sampling
    )
    assert_same(result, expected)
    assert torch.equal(tokens, other)


class Operations(TorchDispatchMode):
    """The names of what torch is asked to do, views left out."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if not func.is_view:
            self.names.append(func.overloadpacket.__name__)
        return func(*args, **(kwargs or {}))


def test_given_tensors_are_taken_as_they_are(rng: torch.Generator) -> None:
    """A step is one operation: nothing is copied or converted around it, to or from the host."""
    tokens, logits = random_case(2, 20, rng)
    scores = torch.rand(2, 12, 12, generator=rng, device=rng.device)
    options: dict[str, Any] = {
        "positions": masked_positions(tokens, MASK, capacity=12),
        "suppress_tokens": torch.tensor([3], device=rng.device),
        "seed": torch.tensor([1, 2], device=rng.device),
        "step": torch.tensor([1], device=rng.device),
        "temperature": 0.5,
    }
    gen_length = torch.tensor([20, 20], device=rng.device).int()
    with Operations() as operations:
        dapd_step_(tokens, logits, scores, mask_id=MASK, gen_length=gen_length, **options)
        unmask.random_step_(tokens, logits, mask_id=MASK, **options)
    assert operations.names == ["dapd_step_", "select_step_"]


def replayed(run: Callable[[], None], device: torch.device) -> Callable[[], None]:
    """The call as a CUDA graph; where there is no GPU, the call."""
    if device.type != "cuda":
        return run
    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        run()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        run()
    return graph.replay


@pytest.mark.parametrize("temperature", [0.0, 0.7])
def test_replays_with_other_contents(temperature: float, rng: torch.Generator) -> None:
    tokens, logits = random_case(3, 40, rng)
    scores = torch.rand(3, 20, 20, generator=rng, device=rng.device)
    inputs = {"step": torch.tensor([0], device=rng.device), "temperature": temperature, "seed": 4}
    results: list[StepResult] = []

    def run() -> None:
        results[:] = [dapd_step_(tokens, logits, scores, mask_id=MASK, normalize=True, **inputs)]

    replay = replayed(run, rng.device)
    for turn in range(3):
        fresh_tokens, fresh_logits = random_case(3, 40, rng)
        tokens.copy_(fresh_tokens)
        logits.copy_(fresh_logits)
        scores.copy_(torch.rand(3, 20, 20, generator=rng, device=rng.device))
        inputs["step"].fill_(turn)
        replay()
        expected = reference.dapd_step_(
            fresh_tokens, logits, scores, mask_id=MASK, normalize=True, **inputs
        )
        assert_same(results[0], expected)
        assert torch.equal(tokens, fresh_tokens)


def test_dapd_with_more_nodes_than_a_block_has_threads(rng: torch.Generator) -> None:
    length = 1025
    tokens, logits = random_case(1, length, rng)
    mine, theirs = tokens.clone(), tokens.clone()
    scores = torch.rand(1, length, length, generator=rng, device=rng.device) ** 20
    options: dict[str, Any] = {"mask_id": MASK, "tau_min": 0.4, "late": "union"}
    result = dapd_step_(mine, logits, scores, **options)
    assert_same(result, reference.dapd_step_(theirs, logits, scores, **options))
    assert torch.equal(mine, theirs)
    assert 1 < int(result.committed) < length // 2


def test_half_precision_and_strided_inputs(rng: torch.Generator) -> None:
    tokens, logits = random_case(3, 40, rng)
    wide_tokens = torch.full((3, 60), 2, device=rng.device)
    wide_tokens[:, 10:50] = tokens
    wide_logits = torch.zeros(3, 40, 2 * VOCABULARY, dtype=torch.bfloat16, device=rng.device)
    wide_logits[..., :VOCABULARY] = logits
    view, narrow = wide_tokens[:, 10:50], wide_logits[..., :VOCABULARY]
    result = threshold_step_(view, narrow, mask_id=MASK, threshold=0.5)
    expected = reference.select_step_(
        tokens, narrow.contiguous(), mask_id=MASK, rule="threshold", limit=0.5
    )
    assert_same(result, expected)
    assert torch.equal(view, tokens)
    assert (wide_tokens[:, :10] == 2).all()
    assert (wide_tokens[:, 50:] == 2).all()


def test_counts_masks_of_the_whole_row_and_revealed_ones(device: torch.device) -> None:
    """A model may predict the mask token: it is written, and the mask remains."""
    tokens = torch.tensor([[MASK, 1, MASK, MASK]], device=device)
    logits = torch.zeros(1, 4, VOCABULARY, device=device)
    logits[..., MASK] = 20.0
    result = threshold_step_(tokens, logits, mask_id=MASK, stop=3)
    assert [part.tolist() for part in result] == [[2], [3], [[True, True, False]]]
    again = threshold_step_(tokens, logits, mask_id=MASK, stop=3, suppress_tokens=[MASK])
    assert [part.tolist() for part in again] == [[1], [2], [[True, False, False]]]


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**31), rule=st.sampled_from(sorted(RULES)), length=st.integers(1, 40))
def test_steps_until_nothing_is_masked(seed: int, rule: str, length: int) -> None:
    tokens, logits = random_case(3, length, torch.Generator().manual_seed(seed))
    logits[:, -1] = 0.0  # every position has something to reveal
    step, argument, limit = RULES[rule]
    before = (tokens == MASK).sum(1)
    for _ in range(length):
        result = step(tokens, logits, mask_id=MASK, suppress_tokens=[MASK], **{argument: limit})
        left = (tokens == MASK).sum(1)
        assert torch.equal(result.remaining, left.int())
        assert torch.equal(result.committed, (before - left).int())
        assert torch.equal(left < before, before > 0), "every row with masks makes progress"
        before = left
    assert (before == 0).all()


def test_no_row_and_no_node(device: torch.device) -> None:
    logits = torch.zeros(2, 5, VOCABULARY, device=device)
    tokens = torch.full((2, 5), MASK, device=device)
    result = threshold_step_(tokens, logits, mask_id=MASK, stop=0)
    assert [part.tolist() for part in result] == [[0, 0], [5, 5], [[], []]]
    result = dapd_step_(tokens[:0], logits[:0], logits.new_zeros(0, 3, 3), mask_id=MASK)
    assert [part.shape for part in result] == [(0,), (0,), (0, 3)]


def test_says_what_is_wrong_and_writes_nothing(device: torch.device) -> None:
    tokens = torch.full((2, 5), MASK, device=device)
    logits = torch.zeros(2, 5, VOCABULARY, device=device)
    scores = torch.zeros(2, 5, 5, device=device)

    def dapd(**change: Any) -> None:
        arguments = {"tokens": tokens, "logits": logits, "scores": scores, "mask_id": MASK}
        dapd_step_(**(arguments | change))

    for change, message in [
        ({"tokens": tokens.float()}, "tokens must be int64 or int32, got float32"),
        ({"tokens": tokens[:1].expand(2, 5)}, "tokens must have rows that do not overlap"),
        ({"logits": logits[0]}, r"logits must be \[B, L, V\], got float32 \[5, 40\]"),
        ({"logits": logits[:1]}, r"logits must be \[B, L, V\] = \[2, any, any\], got \[1, 5, 40\]"),
        ({"scores": scores[:, :4]}, r"scores must be \[B, N, N\]"),
        ({"edge": "width"}, "edge must be one of 'rowmax', 'rowsum', 'raw', got 'width'"),
        ({"order": "width"}, "order must be one of"),
        ({"late": "never"}, "late must be one of"),
        ({"tau_min": float("nan")}, "tau_min must be finite, got nan"),
        ({"tau_max": float("inf")}, "tau_max must be finite, got inf"),
        ({"gen_length": tokens[0]}, r"gen_length must be \[B\] = \[2\], got \[5\]"),
        ({"temperature": -1.0}, "temperature must be finite and at least 0, got -1"),
        ({"start": 6}, r"start must be in 0\.\.5, got 6"),
    ]:
        with pytest.raises(ValueError, match=message):
            dapd(**change)
    with pytest.raises(ValueError, match="tokens_per_step must be an int >= 1, got 0"):
        unmask.top_confidence_step_(tokens, logits, mask_id=MASK, tokens_per_step=0)
    with pytest.raises(TypeError, match="a step has no argument named 'temprature'"):
        threshold_step_(tokens, logits, mask_id=MASK, temprature=1.0)
    with pytest.raises(TypeError, match="a step has no argument named 'capacity'"):
        dapd(capacity=3)
    assert (tokens == MASK).all()


def test_a_position_outside_is_refused_before_anything_is_written() -> None:
    tokens, logits = torch.full((1, 5), MASK), torch.zeros(1, 9, VOCABULARY)
    positions = torch.tensor([[0, 6]], dtype=torch.int32)  # logits reach it, tokens do not
    with pytest.raises(ValueError, match=r"positions must be in -1\.\.4, got 6"):
        threshold_step_(tokens, logits, mask_id=MASK, positions=positions)
    assert (tokens == MASK).all()


def test_registration(rng: torch.Generator) -> None:
    tokens, logits = random_case(2, 20, rng)
    scores = torch.rand(2, 12, 12, generator=rng, device=rng.device)
    ops = torch.ops.unmask
    torch.library.opcheck(
        ops.select_step_.default,
        (tokens.clone(), logits),
        {"mask_id": MASK, "rule": "threshold", "limit": 0.5, "stop": 15},
    )
    torch.library.opcheck(
        ops.dapd_step_.default, (tokens.clone(), logits, scores), {"mask_id": MASK}
    )
    for step, inputs in [(threshold_step_, (logits,)), (dapd_step_, (logits, scores))]:
        mine, theirs = tokens.clone(), tokens.clone()
        compiled = torch.compile(step, fullgraph=True)
        assert_same(compiled(mine, *inputs, mask_id=MASK), step(theirs, *inputs, mask_id=MASK))
        assert torch.equal(mine, theirs)


@pytest.mark.parametrize("rule", RULES)
def test_arrays_take_the_same_step(rule: str) -> None:
    tokens, logits = random_case(3, 33, torch.Generator().manual_seed(1))
    positions = masked_positions(tokens, MASK)
    step, argument, limit = RULES[rule]
    copy = tokens.clone().numpy()

    here = unmask.arrays.select_step_(
        copy,
        logits.numpy(),
        positions.numpy(),
        mask_id=MASK,
        rule=rule,
        limit=limit,
        seed=4,
        step=2,
    )
    there = step(
        tokens, logits, mask_id=MASK, positions=positions, seed=4, step=2, **{argument: limit}
    )

    assert torch.equal(torch.from_numpy(copy), tokens)
    assert_same(StepResult(*map(torch.from_numpy, here)), there)


def test_arrays_take_the_same_step_of_dapd() -> None:
    rng = torch.Generator().manual_seed(2)
    tokens, logits = random_case(3, 33, rng)
    positions = masked_positions(tokens, MASK)
    scores = torch.rand(3, 33, 33, generator=rng)
    copy = tokens.clone().numpy()
    options: dict[str, Any] = {"mask_id": MASK, "tau_min": 0.2, "precommit": 0.9, "late": "union"}

    here = unmask.arrays.dapd_step_(
        copy, logits.numpy(), scores.numpy(), positions.numpy(), **options
    )
    there = dapd_step_(tokens, logits, scores, positions=positions, **options)

    assert torch.equal(torch.from_numpy(copy), tokens)
    assert_same(StepResult(*map(torch.from_numpy, here)), there)


def test_arrays_that_may_not_be_written_are_refused() -> None:
    tokens, logits = random_case(1, 4, torch.Generator().manual_seed(3))
    fixed, positions = tokens.numpy(), masked_positions(tokens, MASK).numpy()
    fixed.flags.writeable = False
    with pytest.raises(ValueError, match="tokens must be writeable"):
        unmask.arrays.select_step_(
            fixed, logits.numpy(), positions, mask_id=MASK, rule="top", limit=1
        )
