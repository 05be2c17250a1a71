import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from logits import INF, NAN, awkward_rows, random_logits
from torch import Tensor
from unmask import arrays, reference, topk_confidence
from unmask.reference.logit_rows import usable
from unmask.reference.topk_confidence import gumbel_scores, kept_tokens


def draws(row: Tensor, count: int, **options: object) -> Tensor:
    """[V] logits -> [count] tokens, drawn at `count` positions that read the same row."""
    logits = row.expand(1, count, len(row))
    return topk_confidence(logits, temperature=1.0, **options).token[0]  # type: ignore[arg-type]


def decided_tokens(
    logits: Tensor,
    temperature: float,
    seeds: list[int],
    step: int = 0,
    top_k: int = 0,
    top_p: float = 1.0,
    rows: list[int] | None = None,
) -> tuple[Tensor, Tensor]:
    """The reference's draws, and where they are certain.

    Float32 scores may order two tokens differently from float64 when they are closer than 1e-4.
    """
    batch, nodes, _ = logits.shape
    tokens, certain = torch.full((2, batch, nodes), -1).unbind()
    for b in range(batch):
        for n in range(nodes):
            row = usable(logits[b, n].cpu()) / temperature
            kept = kept_tokens(row, top_k, top_p)
            scores = gumbel_scores(row, n, rows[b] if rows else b, step, seeds[b])[kept]
            best = scores.topk(min(2, len(kept)))
            tokens[b, n] = kept[best.indices[0]]
            certain[b, n] = len(kept) == 1 or best.values[0] - best.values[1] > 1e-4
    return tokens, certain.bool()


@pytest.mark.parametrize(
    ("counter", "key", "words"),
    [  # the known answers of Random123
        ((0,) * 4, (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
        ((2**32 - 1,) * 4, (2**32 - 1,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
        (
            (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
            (0xA4093822, 0x299F31D0),
            (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
        ),
    ],
)
def test_reference_noise_is_philox(
    counter: tuple[int, int, int, int], key: tuple[int, int], words: tuple[int, ...]
) -> None:
    assert reference.philox(counter, key[1] << 32 | key[0]) == words


@pytest.mark.parametrize("seed", [0, 7, -1, 2**40 + 3, 2**63 - 1])
@pytest.mark.parametrize("vocab", [5, 513, 1100])
def test_equals_the_reference(vocab: int, seed: int, rng: torch.Generator) -> None:
    logits = random_logits(2, 4, vocab, rng=rng)
    for temperature, step in [(1.0, 0), (0.3, 0), (4.0, 2**31 + 1)]:
        options = {"temperature": temperature, "seed": seed, "step": step}
        ours = topk_confidence(logits, **options)  # type: ignore[arg-type]
        token, certain = decided_tokens(logits, temperature, [seed, seed], step)
        assert certain.float().mean() > 0.9
        assert torch.equal(ours.token.cpu()[certain], token[certain])
        untempered = torch.softmax(logits.double(), -1).gather(-1, ours.token.unsqueeze(-1))
        torch.testing.assert_close(ours.confidence, untempered[..., 0].float(), rtol=1e-5, atol=0)


FILTERS: list[dict[str, float]] = [
    {},
    {"top_k": 1},
    {"top_k": 40},
    {"top_p": 0.7},
    {"top_k": 300, "top_p": 0.5},
]


def assert_drawn_as_on_cpu(logits: Tensor, **options: object) -> None:
    """The numpy door is always served by the CPU backend."""
    ours = topk_confidence(logits, **options)  # type: ignore[arg-type]
    token, confidence, *_ = arrays.topk_confidence(logits.float().cpu().numpy(), **options)
    assert ours.token.tolist() == token.tolist()
    expected = torch.from_numpy(confidence)
    torch.testing.assert_close(ours.confidence.cpu(), expected, rtol=1e-5, atol=2.0**-126)


@pytest.mark.parametrize("vocab", [4, 31, 1025, 2500])  # within a tile of a kernel, and several
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("skipped", [0, 1])  # rows that begin at 16 bytes, and some that do not
def test_every_backend_draws_the_same(
    vocab: int, dtype: torch.dtype, skipped: int, rng: torch.Generator
) -> None:
    logits = awkward_rows(vocab + skipped, rng).to(dtype)[..., skipped:]
    for i, temperature in enumerate((1e-38, 0.5, 1.0, 1e30)):
        for seed, filters in enumerate(FILTERS, start=10 * i):
            assert_drawn_as_on_cpu(logits, temperature=temperature, seed=seed, step=3, **filters)


@pytest.mark.parametrize("spread", [3.0, 0.3])  # few tokens matter, or nearly all
def test_every_backend_draws_the_same_from_a_full_vocabulary(
    spread: float, rng: torch.Generator
) -> None:
    logits = random_logits(1, 1, 126464, rng=rng, spread=spread).bfloat16()
    for seed, filters in enumerate([*FILTERS, {"top_k": 5000, "top_p": 0.5}]):
        assert_drawn_as_on_cpu(logits, temperature=1.0, seed=seed, **filters)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_follows_the_distribution(temperature: float, rng: torch.Generator) -> None:
    row = random_logits(24, rng=rng, spread=1.5)
    count = 4_000
    logits = row.expand(1, count, 24)
    token = topk_confidence(logits, temperature=temperature, seed=11).token
    seen = torch.bincount(token[0], minlength=24).double()
    expected = torch.softmax(row.double() / temperature, 0) * count
    common = expected >= 5  # the rule of thumb for the chi-square approximation
    chi_square = ((seen - expected) ** 2 / expected)[common].sum()
    assert chi_square < 49.7, "beyond the 99.9 % quantile of 23 degrees of freedom"


def test_noise_has_no_favourite_word_or_group(rng: torch.Generator) -> None:
    token = draws(torch.zeros(2048, device=rng.device), 800)
    for bins in (token % 4, token // 512):
        seen = torch.bincount(bins, minlength=4).double()
        assert ((seen - 200) ** 2 / 200).sum() < 16.3, "99.9 % quantile of 3 degrees of freedom"


def test_neither_batch_nor_split_nor_view_changes_a_draw(rng: torch.Generator) -> None:
    logits = random_logits(3, 8, 700, rng=rng)
    whole = topk_confidence(logits, temperature=1.0, seed=3, step=2).token
    late = topk_confidence(logits[:, 3:], temperature=1.0, seed=3, step=2, row_offset=3).token
    assert torch.equal(late, whole[:, 3:])
    order = torch.tensor([[5, 0, -1, 2]] * 3, dtype=torch.int32, device=rng.device)
    some = topk_confidence(logits, order, temperature=1.0, seed=3, step=2).token
    assert torch.equal(some[:, [0, 1, 3]], whole[:, [5, 0, 2]])
    assert torch.equal(
        topk_confidence(logits[:1], temperature=1.0, seed=3, step=2).token, whole[:1]
    )

    seeds = torch.tensor([9, 8, 2**50], device=rng.device)
    together = topk_confidence(logits, temperature=1.0, seed=seeds).token
    for b in range(3):
        alone = topk_confidence(logits[b : b + 1], temperature=1.0, seed=seeds[b : b + 1]).token
        assert torch.equal(alone, together[b : b + 1])
    expected, certain = decided_tokens(logits, 1.0, seeds.tolist(), rows=[0, 0, 0])
    assert torch.equal(together.cpu()[certain], expected[certain])


def test_seed_step_row_and_position_all_matter(rng: torch.Generator) -> None:
    flat = torch.zeros(2, 4, 4000, device=rng.device)
    base = topk_confidence(flat, temperature=1.0).token
    assert base.unique().numel() == 8
    assert (topk_confidence(flat, temperature=1.0, seed=1).token != base).all()
    assert (topk_confidence(flat, temperature=1.0, seed=2**32).token != base).all()
    assert (topk_confidence(flat, temperature=1.0, step=1).token != base).all()
    for step in (torch.tensor(1), torch.tensor([1])):
        by_tensor = topk_confidence(flat, temperature=1.0, step=step.to(rng.device))
        assert torch.equal(by_tensor.token, topk_confidence(flat, temperature=1.0, step=1).token)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    vocab=st.integers(1, 700),
    top_k=st.integers(0, 40) | st.just(5000),
    top_p=st.floats(0.01, 1.0),
    temperature=st.sampled_from([0.5, 1.0, 2.0]),
    rounded=st.booleans(),
)
def test_top_k_and_top_p_equal_sorting(
    seed: int, vocab: int, top_k: int, top_p: float, temperature: float, rounded: bool
) -> None:
    rng = torch.Generator().manual_seed(seed)
    logits = random_logits(1, 3, vocab, rng=rng, spread=2.0)
    logits = logits.round() if rounded else logits.bfloat16()  # ties, of different kinds
    logits[torch.rand(logits.shape, generator=rng) < 0.1] = -INF
    logits[0, :, -1] = 0.5
    options = {"temperature": temperature, "top_k": top_k, "top_p": top_p}
    ours = topk_confidence(logits, seed=seed, **options)  # type: ignore[arg-type]
    token, certain = decided_tokens(logits, temperature, [seed], top_k=top_k, top_p=top_p)
    assert torch.equal(ours.token[certain], token[certain])


@pytest.mark.parametrize(
    ("row", "options", "kept"),
    [
        ([0.0] * 8, {"top_k": 3}, [0, 1, 2]),
        ([0.0] * 8, {"top_p": 0.5}, [0, 1, 2, 3]),
        ([0.0] * 8, {"top_p": 0.51}, [0, 1, 2, 3, 4]),
        ([0.0] * 10, {"top_p": 0.6}, [0, 1, 2, 3, 4, 5]),
        ([0.0] * 8, {"top_k": 4, "top_p": 0.5}, [0, 1]),
        ([0.0, 2.0, 1.0, 2.0, 1.0], {"top_k": 3}, [1, 2, 3]),
        ([-0.0, 0.0, -0.0, 0.0], {"top_k": 2}, [0, 1]),
        ([0.0, 1.0, NAN, -INF], {"top_k": 3}, [0, 1]),
        ([0.0, 1.0, NAN, -INF], {"top_p": 1e-9}, [1]),
        ([-3.0, -4.0, -3.5, -4.5], {"top_k": 2}, [0, 2]),
        ([-3.0] * 4, {"top_k": 9}, [0, 1, 2, 3]),
    ],
)
@pytest.mark.parametrize("pad", [0, 1000])
def test_kept_tokens(
    row: list[float], options: dict[str, float], kept: list[int], pad: int, device: torch.device
) -> None:
    values = torch.tensor([*[-INF] * pad, *row], device=device)
    seen = draws(values, 400, **options).unique()
    assert seen.tolist() == [pad + token for token in kept]


def test_top_p_over_a_full_vocabulary(rng: torch.Generator) -> None:
    row = random_logits(30_000, rng=rng, spread=1.0)
    probs, order = torch.softmax(row.double(), 0).sort(descending=True, stable=True)
    before = probs.cumsum(0) - probs
    for top_p in (0.1, 0.9):
        # Float64 and our 2^-42 units may disagree on the very boundary, by one token in thousands.
        allowed = order[before < top_p + 1e-6]
        seen = draws(row, 100, top_p=top_p)
        assert torch.isin(seen, allowed).all()
        reached = torch.isin(seen, order[before > 0.9 * top_p]).any()
        assert reached, "the tail below the boundary is never drawn"


def test_infinite_and_unusable_rows_and_tiny_temperatures(rng: torch.Generator) -> None:
    logits = random_logits(1, 3, 600, rng=rng)
    logits[0, 0, [599, 520]] = INF
    logits[0, 1] = NAN
    for temperature in (1.0, 1e-3, 1e-38):
        token = topk_confidence(logits, temperature=temperature, top_p=0.9, top_k=7).token
        assert token[0, :2].tolist() == [520, -1]
    assert token[0, 2] == logits[0, 2].argmax()
    lone = torch.full((1, 1, 600), -INF, device=rng.device)
    lone[0, 0, 599] = torch.finfo(torch.float32).min
    assert topk_confidence(lone, temperature=0.1).token == 599


def test_suppressed_tokens_are_never_drawn(rng: torch.Generator) -> None:
    row = torch.zeros(6, device=rng.device)
    assert draws(row, 400, suppress_tokens=[0, 3]).unique().tolist() == [1, 2, 4, 5]
    assert draws(row, 400, suppress_tokens=[0, 3], top_k=2).unique().tolist() == [1, 2]
