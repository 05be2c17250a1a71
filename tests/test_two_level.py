"""The two-level sampler: its tokens equal those of a reference on Python integers, everywhere."""

from typing import Any

import pytest
import torch
import unmask
from logits import INF, NAN, awkward_rows, random_logits
from torch import Tensor
from unmask import arrays, reference, topk_confidence
from unmask.reference.two_level import first_slots, token_masses


def drawn(logits: Tensor, positions: Tensor | None = None, **options: Any) -> Tensor:
    """The tokens, after a look at their probabilities."""
    options = {"temperature": 1.0, **options, "sampler": "two_level"}
    ours = topk_confidence(logits, positions, **options)
    greedy = topk_confidence(logits, positions, **{**options, "temperature": 0.0})
    for name in ("ids", "probs", "entropy", "logsumexp"):
        assert torch.equal(getattr(ours, name), getattr(greedy, name)), "the draw changed more"
    return ours.token


def assert_equals_reference(
    logits: Tensor, positions: Tensor | None = None, **options: Any
) -> None:
    ours = drawn(logits, positions, **options)
    options = {"temperature": 1.0, **options, "sampler": "two_level"}
    on_cpu = None if positions is None else positions.cpu()
    expected = reference.topk_confidence(logits.cpu(), on_cpu, **options)
    assert ours.tolist() == expected[0].tolist()
    confidence = topk_confidence(logits, positions, **options).confidence.cpu()
    torch.testing.assert_close(confidence, expected[1].float(), rtol=1e-5, atol=2.0**-126)


@pytest.mark.parametrize("vocab", [4, 65, 1024, 1025, 2500])  # up to a tile, and several
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("skipped", [0, 1])  # rows that begin at 16 bytes, and some that do not
def test_equals_the_reference(
    vocab: int, dtype: torch.dtype, skipped: int, rng: torch.Generator
) -> None:
    logits = awkward_rows(vocab + skipped, rng).to(dtype)[..., skipped:]
    for seed, temperature in enumerate((1e-38, 0.5, 1.0, 1e30)):
        assert_equals_reference(logits, temperature=temperature, seed=seed, step=3)


@pytest.mark.parametrize("seed", [0, 7, -1, 2**40 + 3, 2**63 - 1])
def test_equals_the_reference_for_many_rows(seed: int, rng: torch.Generator) -> None:
    logits = random_logits(2, 20, 1500, rng=rng)
    for temperature, step in [(1.0, 0), (0.3, 2**31 + 1)]:
        assert_equals_reference(logits, temperature=temperature, seed=seed, step=step)


@pytest.mark.parametrize("spread", [4.0, 0.3])  # few tokens matter, or nearly all
def test_equals_the_reference_over_a_full_vocabulary(spread: float, rng: torch.Generator) -> None:
    for dtype in (torch.bfloat16, torch.float32):
        logits = random_logits(1, 2, 126464, rng=rng, spread=spread).to(dtype)
        assert_equals_reference(logits, seed=4)


def test_other_arguments_reach_the_draw(rng: torch.Generator) -> None:
    logits = random_logits(3, 9, 1100, rng=rng)
    positions = torch.tensor([[2, -1, 9], [0, 5, -1], [1, 3, 4]], device=rng.device).int()
    seeds = torch.tensor([3, 2**50, -9], device=rng.device)
    unwanted = torch.arange(0, 1100, 3, device=rng.device)
    assert_equals_reference(
        logits,
        positions,
        seed=seeds,
        step=torch.tensor(5, device=rng.device),
        suppress_tokens=unwanted,
        logit_scale=0.5,
        row_shift=1,
        row_offset=1,
        k=3,
    )


def test_rows_with_little_to_choose_from(device: torch.device) -> None:
    logits = torch.full((1, 5, 3000), -INF, device=device)
    logits[0, 0, 2999] = torch.finfo(torch.float32).min
    logits[0, 1] = NAN
    logits[0, 2, [2500, 40]] = INF
    logits[0, 3, 1030] = 0.0
    logits[0, 4] = 1.0
    unwanted = [v for v in range(3000) if v not in (2047, 2048)]
    assert drawn(logits)[0, :4].tolist() == [2999, -1, 40, 1030]
    assert drawn(logits, suppress_tokens=unwanted)[0, :4].tolist() == [-1] * 4
    seen = {int(drawn(logits, suppress_tokens=unwanted, seed=i)[0, 4]) for i in range(20)}
    assert seen == {2047, 2048}


def test_neither_batch_nor_split_nor_view_changes_a_draw(rng: torch.Generator) -> None:
    logits = random_logits(3, 8, 9000, rng=rng)[..., :8700]  # few rows are split over blocks
    whole = drawn(logits, seed=3, step=2)
    late = drawn(logits[:, 3:], seed=3, step=2, row_offset=3)
    assert torch.equal(late, whole[:, 3:])
    order = torch.tensor([[5, 0, -1, 2]] * 3, dtype=torch.int32, device=rng.device)
    some = drawn(logits, order, seed=3, step=2)
    assert torch.equal(some[:, [0, 1, 3]], whole[:, [5, 0, 2]])
    assert torch.equal(drawn(logits[:1], seed=3, step=2), whole[:1])
    seeds = torch.tensor([9, 8, 2**50], device=rng.device)
    together = drawn(logits, seed=seeds)
    for b in range(3):
        assert torch.equal(drawn(logits[b : b + 1], seed=seeds[b : b + 1]), together[b : b + 1])
    crowd = drawn(logits[:1, :1].expand(1, 140, 8700), seed=3)  # so many are not
    assert torch.equal(crowd[:, :1], drawn(logits[:1, :1], seed=3))


def test_the_type_of_the_logits_does_not_matter(rng: torch.Generator) -> None:
    logits = random_logits(1, 12, 1300, rng=rng).bfloat16()
    token = drawn(logits, seed=1)
    assert torch.equal(drawn(logits.float(), seed=1), token)
    by_numpy = arrays.topk_confidence(
        logits.float().cpu().numpy(), temperature=1.0, seed=1, sampler="two_level"
    )
    assert by_numpy[0].tolist() == token.tolist()


def test_seed_step_row_and_position_all_matter(device: torch.device) -> None:
    flat = torch.zeros(2, 4, 4000, device=device)
    base = drawn(flat)
    assert base.unique().numel() == 8
    for other in ({"seed": 1}, {"seed": 2**32}, {"step": 1}):
        assert (drawn(flat, **other) != base).all()


def test_no_part_weighs_more_than_its_slot() -> None:
    rng = torch.Generator().manual_seed(2)
    for spread in (0.01, 3.0, 40.0):
        logits = random_logits(3000, 64, rng=rng, spread=spread)
        highest, factor = logits.max(), torch.tensor(0.7)
        masses = token_masses(logits, highest, factor).sum(1)
        slots = torch.tensor(first_slots(logits.amax(1), highest, factor))
        assert (slots >= masses).all()


def chi_square(token: Tensor, expected: Tensor) -> float:
    seen = torch.bincount(token.flatten(), minlength=len(expected)).double()
    common = expected >= 5  # the rule of thumb; the others together are one bin
    rest = (seen[~common].sum() - expected[~common].sum()) ** 2 / expected[~common].sum().clamp(1)
    return float(((seen - expected) ** 2 / expected)[common].sum() + rest)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_follows_the_distribution(temperature: float) -> None:
    rng = torch.Generator().manual_seed(0)
    row = random_logits(24, rng=rng, spread=1.5)
    token = drawn(row.expand(1, 20_000, 24), temperature=temperature, seed=11)
    expected = torch.softmax(row.double() / temperature, 0) * 20_000
    assert chi_square(token, expected) < 51.2, "99.9 % quantile of 24 degrees of freedom"


def test_follows_the_distribution_over_many_parts() -> None:
    rng = torch.Generator().manual_seed(1)
    row = random_logits(2500, rng=rng, spread=2.0)
    row[1500] = 9.0  # one token with a good part of the mass
    token = drawn(row.expand(1, 30_000, 2500), seed=5)
    mass = torch.softmax(row.double(), 0)
    parts = torch.arange(2500) // 1024 * 16 + torch.arange(2500) // 8 % 16
    expected = torch.zeros(48).double().index_add_(0, parts, mass) * 30_000
    assert chi_square(parts[token], expected) < 84.0, "99.9 % quantile of 48 degrees of freedom"
    heads = mass.topk(40).indices
    among = torch.full((2500,), 40).index_copy_(0, heads, torch.arange(40))
    expected = torch.cat([mass[heads], 1 - mass[heads].sum().reshape(1)]) * 30_000
    assert chi_square(among[token], expected) < 73.4, "99.9 % quantile of 40 degrees of freedom"


@pytest.mark.parametrize("options", [{"top_k": 5}, {"top_p": 0.9}, {"top_k": 5, "top_p": 0.9}])
def test_filters_are_refused(options: dict[str, Any], device: torch.device) -> None:
    top_k, top_p = options.get("top_k", 0), options.get("top_p", 1)
    message = (
        "sampler 'two_level' draws from the whole distribution: "
        f"top_k must be 0 and top_p 1, got {top_k} and {top_p}"
    )
    logits, tokens = torch.zeros(1, 2, 8, device=device), torch.zeros(1, 2, device=device).long()
    with pytest.raises(ValueError, match=message):
        topk_confidence(logits, temperature=1.0, sampler="two_level", **options)
    with pytest.raises(ValueError, match=message):
        unmask.threshold_step_(tokens, logits, mask_id=0, sampler="two_level", **options)
    with pytest.raises(ValueError, match=message):
        unmask.generate(
            lambda *_, **__: logits, tokens, mask_token_id=0, sampler="two_level", **options
        )


def test_unknown_words_are_refused(device: torch.device) -> None:
    logits, tokens = torch.zeros(1, 2, 8, device=device), torch.zeros(1, 2, device=device).long()
    message = "sampler must be one of 'gumbel', 'two_level', got 'both'"
    with pytest.raises(ValueError, match=message):
        topk_confidence(logits, sampler="both")
    with pytest.raises(ValueError, match=message):
        unmask.top_confidence_step_(tokens, logits, mask_id=0, sampler="both")
    with pytest.raises(ValueError, match=message):
        unmask.generate(lambda *_, **__: logits, tokens, mask_token_id=0, sampler="both")


@pytest.mark.parametrize("vocab", [40, 1500])
def test_a_fused_step_equals_the_operators(vocab: int, rng: torch.Generator) -> None:
    logits = random_logits(2, 20, vocab, rng=rng)
    start = torch.full((2, 20), 9, device=rng.device)
    scores = torch.rand(2, 20, 20, generator=rng, device=rng.device)
    options: dict[str, Any] = {
        "mask_id": 9,
        "temperature": 0.7,
        "seed": 3,
        "sampler": "two_level",
        "suppress_tokens": [9],
    }
    mine, theirs = start.clone(), start.clone()
    result = unmask.threshold_step_(mine, logits, threshold=0.3, **options)
    expected = reference.select_step_(theirs, logits, rule="threshold", limit=0.3, **options)
    assert torch.equal(mine, theirs)
    assert all(map(torch.equal, result, expected))
    mine, theirs = start.clone(), start.clone()
    result = unmask.dapd_step_(mine, logits, scores, **options)
    expected = reference.dapd_step_(theirs, logits, scores, **options)
    assert torch.equal(mine, theirs)
    assert all(map(torch.equal, result, expected))
    assert (mine != 9).any()


def test_generate_draws_with_it(device: torch.device) -> None:
    logits = torch.zeros(2, 6, 50, device=device)

    def model(tokens: Tensor, **_: Any) -> Tensor:
        return logits

    prompt = torch.full((2, 1), 3, device=device)
    strategy = unmask.TopConfidence(2)
    options: dict[str, Any] = {"strategy": strategy, "mask_token_id": 49, "temperature": 1.0}
    ours = unmask.generate(model, prompt, 5, **options, sampler="two_level").sequences
    followed = unmask.generate(model, prompt, 5, **options, sampler="two_level", return_trace=True)
    assert torch.equal(ours, followed.sequences)
    assert not torch.equal(ours, unmask.generate(model, prompt, 5, **options).sequences)


def test_registration(rng: torch.Generator) -> None:
    logits = random_logits(1, 3, 40, rng=rng)
    options = {"temperature": 0.7, "sampler": "two_level"}
    torch.library.opcheck(torch.ops.unmask.topk_confidence.default, (logits,), options)
    compiled = torch.compile(lambda x: topk_confidence(x, **options).token, fullgraph=True)
    assert torch.equal(compiled(logits), drawn(logits, temperature=0.7))
