from types import SimpleNamespace
from typing import Any

import pytest
import torch
from models import MASK, Scripted, Transformer, target
from torch import Tensor
from unmask import (
    DAPD,
    KLASS,
    EntropyBound,
    Factor,
    Random,
    Strategy,
    Threshold,
    TopConfidence,
    generate,
)

pytestmark = pytest.mark.usefixtures("one_thread")

M = MASK
STRATEGIES = [
    TopConfidence(2),
    Random(2),
    Threshold(0.6),
    Factor(),
    EntropyBound(0.5),
    KLASS(0.3, 0.05),
    DAPD.staged(),
    DAPD.confident_first(layers=[0, 2], tau_max=0.5),
]


def ids(*rows: list[int], device: Any = "cpu") -> Tensor:
    return torch.tensor(rows, device=device)


def steps_of(out: Any, row: int = 0) -> list[int]:
    return out.trace.revealed_step[row].tolist()


def test_reveals_in_the_order_the_model_is_sure(device: torch.device) -> None:
    model = Scripted(chained=True)
    out = generate(model, ids([1, 2], device=device), 4, strategy=Threshold(), return_trace=True)
    assert out.sequences.tolist() == [[1, 2, *map(target, range(2, 6))]]
    assert steps_of(out) == [-1, -1, 0, 1, 2, 3]
    assert out.steps.tolist() == [4]
    assert out.steps.dtype == torch.int32
    assert out.trace.committed.tolist() == [[1, 1, 1, 1]]
    # softmax of one logit 9 among twelve
    sure = float(torch.tensor([9.0] + [0.0] * 10).softmax(-1)[0])
    assert out.trace.confidence[0].tolist() == pytest.approx([0, 0, *[sure] * 4], rel=1e-5)
    assert len(model.seen) == 4


def test_fills_masks_in_the_given_text(device: torch.device) -> None:
    given = ids([1, M, M, 4, M, M], [M, 2, 3, 4, 5, 6], device=device)
    out = generate(Scripted(chained=True), given, 0, strategy=Threshold(), return_trace=True)
    assert out.sequences.tolist() == [
        [1, target(1), target(2), 4, target(4), target(5)],
        [target(0), 2, 3, 4, 5, 6],
    ]
    assert steps_of(out) == [-1, 0, 1, -1, 0, 1]
    assert out.steps.tolist() == [2, 1]


def test_infilling_and_new_tokens_together() -> None:
    out = generate(
        Scripted(chained=True), ids([1, M, 3]), 2, strategy=Threshold(), return_trace=True
    )
    assert steps_of(out) == [-1, 0, -1, 0, 1]


def test_blocks_go_left_to_right_each_row_at_its_own_pace(device: torch.device) -> None:
    # Surer to the right, so that without blocks the order would be reversed.
    model = Scripted(sureness=[1.0, 2, 3, 4, 5, 6, 7, 8])
    given = ids([1, 2, 3], [1, M, 3], device=device)
    out = generate(model, given, 5, block_length=2, strategy=TopConfidence(), return_trace=True)
    assert steps_of(out, 0) == [-1, -1, -1, 1, 0, 3, 2, 4]
    assert steps_of(out, 1) == [-1, 2, -1, 1, 0, 4, 3, 5]  # a given mask is of the first block
    assert out.steps.tolist() == [5, 6]
    whole = generate(model, given[:1], 5, strategy=TopConfidence(), return_trace=True)
    assert steps_of(whole) == [-1, -1, -1, 4, 3, 2, 1, 0]
    long = generate(model, given[:1], 5, 99, strategy=TopConfidence(), return_trace=True)
    assert steps_of(long) == steps_of(whole)


def test_complete_rows_stay_as_they_are() -> None:
    model = Scripted(chained=True)
    out = generate(model, ids([1, 2, 3, 4, M], [M, M, M, M, M]), 0, strategy=Threshold())
    assert out.steps.tolist() == [1, 5]
    first_rows = [tokens[0].tolist() for tokens, _ in model.seen[1:]]
    assert first_rows == [[1, 2, 3, 4, target(4)]] * 4


@pytest.mark.parametrize("strategy", STRATEGIES, ids=repr)
@pytest.mark.parametrize("block_length", [None, 5])
def test_a_row_decodes_alike_alone_and_in_a_padded_batch(
    strategy: Strategy, block_length: int | None, device: torch.device
) -> None:
    model, pad = Transformer().to(device), 0
    texts = [[1, 2, 3, 4, 5, 6], [7, M, 8], [4]]
    seeds = torch.tensor([3, 4, 5], device=device)
    shared: dict[str, Any] = {"block_length": block_length, "strategy": strategy}
    left = ids(*[[pad] * (6 - len(t)) + t for t in texts], device=device)
    right = ids(*[t + [pad] * (6 - len(t)) for t in texts], device=device)
    at_left = ids(*[[0] * (6 - len(t)) + [1] * len(t) for t in texts], device=device)
    out_left = generate(model, left, 12, attention_mask=at_left, seed=seeds, **shared)
    out_right = generate(model, right, 12, attention_mask=at_left.flip(-1), seed=seeds, **shared)
    for b, text in enumerate(texts):
        alone = generate(model, ids(text, device=device), 12, seed=seeds[b : b + 1], **shared)
        row, missing = alone.sequences[0].tolist(), 6 - len(text)
        assert M not in row
        assert out_right.sequences[b].tolist() == row + [pad] * missing
        assert out_right.steps[b] == alone.steps[0]
        if not isinstance(strategy, Random):  # draws belong to positions, which padding moves
            assert out_left.sequences[b].tolist() == [pad] * missing + row
            assert out_left.steps[b] == alone.steps[0]


def test_padding_is_never_revealed_even_if_it_looks_like_a_mask() -> None:
    model = Scripted()
    mask = torch.tensor([[0, 1, 1, 0], [1, 1, 1, 1]])
    out = generate(
        model, ids([M, 1, M, M], [1, 2, 3, M]), 2, strategy=Threshold(), attention_mask=mask
    )
    assert out.sequences.tolist() == [
        [M, 1, target(2), target(3), target(4), M],
        [1, 2, 3, target(3), target(4), target(5)],
    ]
    assert out.steps.tolist() == [1, 1]
    assert model.seen[0][1].tolist() == [[0, 1, 1, 1, 1, 0], [1, 1, 1, 1, 1, 1]]


def test_the_model_sees_what_it_is_promised() -> None:
    model = Scripted(chained=True)
    generate(model, ids([1, 2]), 3, strategy=Threshold())
    assert [tokens[0].tolist() for tokens, _ in model.seen] == [
        [1, 2, M, M, M],
        [1, 2, target(2), M, M],
        [1, 2, target(2), target(3), M],
    ]
    assert all(mask is None for _, mask in model.seen)
    bools = torch.tensor([[True, True]])
    generate(model, ids([1, 2]), 1, strategy=Threshold(), attention_mask=bools)
    assert model.seen[-1][1].tolist() == [[True] * 3]


def test_a_settled_end_fills_the_rest(device: torch.device) -> None:
    model = Scripted(chained=True, says={3: 9})
    given = ids([9, 2], [9, M], device=device)
    out = generate(model, given, 6, strategy=Threshold(), eos_token_id=9, return_trace=True)
    filled = [target(2), 9, 9, 9, 9, 9]
    assert out.sequences.tolist() == [[9, 2, *filled], [9, target(1), *filled]]
    assert steps_of(out) == [-1, -1, 0, 1, -1, -1, -1, -1]
    assert out.steps.tolist() == [2, 3]


def test_an_end_with_masks_before_it_waits() -> None:
    # Surest at the end of the text, position 4, then to the left of it.
    model = Scripted(sureness=[0, 0, 2.0, 3.0, 9.0, 1.0, 1.0], says={4: 8})
    out = generate(
        model, ids([1, 2]), 5, strategy=TopConfidence(), eos_token_id=[9, 8], return_trace=True
    )
    assert steps_of(out) == [-1, -1, 2, 1, 0, -1, -1]
    assert out.sequences.tolist() == [[1, 2, target(2), target(3), 8, 8, 8]]


def test_a_given_mask_is_filled_even_behind_an_end() -> None:
    model = Scripted(sureness=[0, 1.0, 9.0, 2.0, 2.0], says={2: 9})
    out = generate(model, ids([1, M]), 3, strategy=TopConfidence(), eos_token_id=9)
    assert out.sequences.tolist() == [[1, target(1), 9, 9, 9]]
    assert out.steps.tolist() == [2]


def test_max_steps_leaves_masks() -> None:
    shared: dict[str, Any] = {"strategy": Threshold(), "return_trace": True}
    out = generate(Scripted(chained=True), ids([1, 2]), 4, max_steps=2, **shared)
    assert out.sequences.tolist() == [[1, 2, target(2), target(3), M, M]]
    assert out.steps.tolist() == [2]
    assert steps_of(out) == [-1, -1, 0, 1, -1, -1]
    none = generate(Scripted(), ids([1, 2]), 1, max_steps=0, **shared)
    assert none.sequences.tolist() == [[1, 2, M]]
    assert none.steps.tolist() == [0]


@pytest.mark.parametrize("given", [ids([1, 2]), torch.zeros(2, 0).long(), torch.zeros(0, 3).long()])
def test_nothing_to_do_needs_no_pass(given: Tensor) -> None:
    model = Scripted()
    out = generate(model, given, 0, return_trace=True)
    assert torch.equal(out.sequences, given)
    assert out.steps.tolist() == [0] * len(given)
    assert out.trace.committed.shape == (len(given), 0)
    assert model.seen == []


def test_generates_from_nothing() -> None:
    out = generate(Scripted(), torch.zeros(1, 0).long(), 3, strategy=Threshold())
    assert out.sequences.tolist() == [[target(0), target(1), target(2)]]


def test_the_mask_itself_and_suppressed_tokens_are_never_revealed() -> None:
    def model(input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        return torch.tensor([0.0, 1, 5, 2, 3, 4, 9]).expand(*input_ids.shape, 7)

    shared: dict[str, Any] = {"strategy": Threshold(), "mask_token_id": 6}
    assert generate(model, ids([0]), 2, **shared).sequences.tolist() == [[0, 2, 2]]
    out = generate(model, ids([0]), 2, suppress_tokens=[2, 5], **shared)
    assert out.sequences.tolist() == [[0, 4, 4]]
    beyond = generate(model, ids([0]), 2, strategy=Threshold(), mask_token_id=70)
    assert beyond.sequences.tolist() == [[0, 6, 6]]


def test_a_position_without_logits_stays_masked_and_the_loop_ends() -> None:
    def model(input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        logits = Scripted()(input_ids)
        logits[:, 3] = float("nan")
        return logits

    out = generate(model, ids([1]), 4, strategy=Threshold(), mask_token_id=M)
    assert out.sequences.tolist() == [[1, target(1), target(2), M, target(4)]]


def test_shifted_logits() -> None:
    def model(input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        return Scripted()(input_ids).roll(-1, dims=1)  # row i - 1 speaks of position i

    for strategy in [Threshold(), KLASS()]:
        out = generate(model, ids([1]), 3, strategy=strategy, mask_token_id=M, logit_shift=1)
        assert out.sequences.tolist() == [[1, *map(target, range(1, 4))]]


@pytest.mark.parametrize(
    "wrap",
    [
        lambda logits: logits,
        lambda logits: SimpleNamespace(logits=logits),
        lambda logits: {"logits": logits},
        lambda logits: (logits, None),
    ],
)
def test_takes_logits_as_models_return_them(wrap: Any) -> None:
    model = Scripted()
    out = generate(
        lambda input_ids, attention_mask=None: wrap(model(input_ids)),
        ids([1]),
        1,
        strategy=Threshold(),
        mask_token_id=M,
    )
    assert out.sequences.tolist() == [[1, target(1)]]


def test_draws_depend_on_seed_step_and_position_only(device: torch.device) -> None:
    model = Transformer(sharpness=1.0).to(device)
    shared: dict[str, Any] = {"temperature": 1.0, "strategy": Threshold(0.5)}
    given = ids([1, 2], [1, 2], [3, 4], device=device)
    seeds = torch.tensor([11, 12, 13], device=device)
    out = generate(model, given, 20, seed=seeds, **shared).sequences
    assert not torch.equal(out[0], out[1])
    for b in range(3):
        alone = generate(model, given[b : b + 1], 20, seed=seeds[b : b + 1], **shared).sequences
        assert torch.equal(alone[0], out[b])
    one = generate(model, given, 20, seed=1, **shared).sequences
    assert torch.equal(one, generate(model, given, 20, seed=1, **shared).sequences)
    assert not torch.equal(one[0], one[1])
    assert not torch.equal(one, generate(model, given, 20, seed=2, **shared).sequences)
    cold = generate(model, given, 20, strategy=Threshold(0.5)).sequences
    assert torch.equal(cold, generate(model, given, 20, seed=1, top_k=1, **shared).sequences)


def test_keeps_no_gradients_and_the_models_state() -> None:
    model = Transformer()
    assert model.training
    out = generate(model, ids([1, 2]), 4, return_trace=True)
    assert model.training
    assert not out.trace.confidence.requires_grad
    assert all(parameter.grad is None for parameter in model.parameters())
