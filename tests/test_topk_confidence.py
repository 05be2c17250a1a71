import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from logits import INF, NAN, awkward_rows, random_logits
from torch import Tensor
from unmask import TopKConfidence, arrays, reference, topk_confidence

DTYPES = [torch.float32, torch.bfloat16, torch.float16]
SEAMS = [1, 2, 63, 64, 65, 511, 512, 513, 1024, 5000]  # around a lane, a group and two groups


def assert_same(ours: TopKConfidence, expected: tuple[Tensor, ...], rtol: float = 1e-5) -> None:
    """Ids to the bit. Floats: float32 sums of positive terms, so a relative error and no floor
    above float32's smallest normal number."""
    token, confidence, ids, probs, entropy, logsumexp = expected
    assert torch.equal(ours.token.cpu(), token)
    assert torch.equal(ours.ids.cpu(), ids)
    for got, wanted in [
        (ours.confidence, confidence),
        (ours.probs, probs),
        (ours.entropy, entropy),
        (ours.logsumexp, logsumexp),
    ]:
        torch.testing.assert_close(got.cpu(), wanted.float(), rtol=rtol, atol=2.0**-126)


@pytest.mark.parametrize("vocab", SEAMS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_equals_float64(vocab: int, dtype: torch.dtype, rng: torch.Generator) -> None:
    logits = random_logits(2, 3, vocab, rng=rng).to(dtype)
    for k in (1, 8, 64):
        assert_same(topk_confidence(logits, k=k), reference.topk_confidence(logits.cpu(), k=k))


@pytest.mark.parametrize("vocab", [4, 100, 512, 1500])
@pytest.mark.parametrize("dtype", DTYPES)
def test_awkward_rows(vocab: int, dtype: torch.dtype, rng: torch.Generator) -> None:
    logits = awkward_rows(vocab, rng).to(dtype)
    for k in (1, 5, 64):
        assert_same(topk_confidence(logits, k=k), reference.topk_confidence(logits.cpu(), k=k))


@pytest.mark.parametrize("scale", [0.25, 1.0, 4.0])
def test_a_full_vocabulary(scale: float, rng: torch.Generator) -> None:
    logits = random_logits(1, 3, 126464, rng=rng).bfloat16()
    logits[0, 1, 77777] = 40.0
    logits[0, 2] = logits[0, 2].sort().values  # the best 64 in one group
    ours = topk_confidence(logits, k=64, logit_scale=scale)
    assert_same(ours, reference.topk_confidence(logits.cpu(), k=64, logit_scale=scale))


def test_the_largest_vocabulary(rng: torch.Generator) -> None:
    logits = random_logits(1, 1, 2**20, rng=rng)
    assert_same(topk_confidence(logits, k=9), reference.topk_confidence(logits.cpu(), k=9))
    with pytest.raises(NotImplementedError, match="vocabulary V can be at most 1048576, got 10485"):
        topk_confidence(logits.new_zeros(1, 1, 2**20 + 1))


def test_suppressed_tokens_of_the_largest_vocabulary(rng: torch.Generator) -> None:
    logits = random_logits(1, 1, 2**20, rng=rng).half()
    positions = torch.full((1, 300), -1, dtype=torch.int32, device=rng.device)
    positions[0, 7] = 0  # 300 nodes: few enough rows for shared memory, too many for small slices
    tokens = [*logits.flatten().topk(70).indices.tolist(), 2**19, 2**20 - 1]
    ours = topk_confidence(logits, positions, k=64, suppress_tokens=tokens)
    wanted = reference.topk_confidence(logits.cpu(), k=64, suppress_tokens=tokens)
    assert_same(TopKConfidence(*(field[:, 7:8] for field in ours)), wanted)
    assert (ours.token[0, 8:] == -1).all()


@pytest.mark.parametrize("gap", [5.0, 15.0, 22.0, 30.0, 60.0, 85.0])
@pytest.mark.parametrize("same_group", [True, False])
def test_entropy_of_an_all_but_decided_row(gap: float, same_group: bool) -> None:
    logits = torch.full((1, 1, 2000), -300.0)
    logits[0, 0, 3] = 7.0
    logits[0, 0, 4 if same_group else 1999] = 7.0 - gap
    assert_same(topk_confidence(logits), reference.topk_confidence(logits))


def test_positions_padding_shift_and_offset(rng: torch.Generator) -> None:
    logits = random_logits(2, 6, 40, rng=rng)
    positions = torch.tensor([[0, 3, -1], [5, -1, 7]], dtype=torch.int32, device=rng.device)
    for shift, offset in [(0, 2), (1, 5), (3, 2), (0, 6)]:
        options = {"k": 3, "row_shift": shift, "row_offset": offset}
        ours = topk_confidence(logits, positions, **options)
        assert_same(ours, reference.topk_confidence(logits.cpu(), positions.cpu(), **options))
        assert ours.token[1, 2] == logits[1, max(7 - shift - offset, 0)].argmax()
    padded = TopKConfidence(*(field[0, 2] for field in ours))
    assert padded.token == -1
    assert padded.ids.tolist() == [-1] * 3
    assert padded.probs.tolist() == [0.0] * 3
    assert (padded.confidence, padded.entropy, padded.logsumexp) == (0.0, 0.0, -INF)


def test_rows_that_no_node_reads_are_never_touched(rng: torch.Generator) -> None:
    logits = random_logits(1, 4, 30, rng=rng)
    positions = torch.tensor([[1, 2]], dtype=torch.int32, device=rng.device)
    expected = topk_confidence(logits, positions, k=4)
    logits[0, [0, 3]] = NAN
    for got, wanted in zip(topk_confidence(logits, positions, k=4), expected, strict=True):
        assert torch.equal(got, wanted)


def test_strided_views(rng: torch.Generator) -> None:
    storage = random_logits(7, 3, 1200, rng=rng).half()
    for view in (
        storage[:, :, 100:700],
        storage[::2, 1:],
        storage.transpose(0, 1),
        storage[:1].expand(4, 3, 1200),
    ):
        whole = topk_confidence(view.contiguous(), k=5)
        for got, wanted in zip(topk_confidence(view, k=5), whole, strict=True):
            assert torch.equal(got, wanted)
    with pytest.raises(ValueError, match="logits must have unit stride over the vocabulary, got s"):
        topk_confidence(storage[:, :, ::2])


def ties_of_every_kind(vocab: int, rng: torch.Generator) -> Tensor:
    """[1, 8, vocab]: rows whose 64th best is one of thousands of equals or neighbours."""
    noise = random_logits(vocab, rng=rng)
    token = torch.arange(vocab, device=rng.device)
    flat = torch.full_like(noise, -2.5)
    few_above = torch.where(token % (vocab // 40) == 5, 3.0, flat)
    last_bits = 100.0 + token.remainder(5000) * 2.0**-17  # float32 tells them apart by few bits
    late = torch.where(token < vocab - 70, -INF, 1.0 - token.float() * 2.0**-24)
    rows = [
        flat,
        few_above,
        last_bits,
        -last_bits,
        noise.round(),
        torch.where(noise > 0, 1.0, NAN),
        late,
        torch.where(token % 2 == 0, 0.0, -0.0),
    ]
    return torch.stack(rows).unsqueeze(0)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("company", [0, 300])  # rows split over blocks, and rows with one each
def test_ties_across_groups(company: int, dtype: torch.dtype, rng: torch.Generator) -> None:
    logits = ties_of_every_kind(21000, rng).to(dtype)
    nodes = logits.shape[1]
    positions = torch.full((1, nodes + company), -1, dtype=torch.int32, device=rng.device)
    positions[0, :nodes] = torch.arange(nodes)
    for k in (1, 3, 64):
        ours = topk_confidence(logits, positions, k=k)
        own = TopKConfidence(*(field[:, :nodes] for field in ours))
        assert_same(own, reference.topk_confidence(logits.cpu(), k=k))


@pytest.mark.parametrize("dtype", DTYPES)
def test_company_does_not_change_a_bit(dtype: torch.dtype, rng: torch.Generator) -> None:
    """Alone a row is split over several blocks, in a crowd it has one."""
    logits = random_logits(1, 3, 19001, rng=rng).to(dtype)
    crowd = torch.full((1, 300), -1, dtype=torch.int32, device=rng.device)
    crowd[0, :3] = torch.arange(3)
    crowd[0, 200] = 1
    suppressed = logits[0].argmax(-1)
    for options in ({"k": 1}, {"k": 64}, {"k": 8, "suppress_tokens": suppressed}):
        together = topk_confidence(logits, crowd, **options)
        assert all(torch.equal(field[0, 200], field[0, 1]) for field in together)
        for nodes in (1, 3, 60, 130):  # 8, 8, 4 and 2 blocks a row
            alone = topk_confidence(logits, crowd[:, :nodes], **options)
            for got, wanted in zip(alone, together, strict=True):
                assert torch.equal(got, wanted[:, :nodes])


@pytest.mark.parametrize("vocab", [5, 1500, 5001])
@pytest.mark.parametrize("dtype", DTYPES)
def test_alignment_does_not_change_a_bit(
    vocab: int, dtype: torch.dtype, rng: torch.Generator
) -> None:
    row = random_logits(vocab, rng=rng).to(dtype)
    results = []
    for shift in range(9):
        storage = torch.full((1, 2, vocab + 16), INF, dtype=dtype, device=rng.device)
        storage[..., shift : shift + vocab] = row
        view = storage[..., shift : shift + vocab]
        results.append(topk_confidence(view, k=9, suppress_tokens=[2, vocab - 1]))
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


@pytest.mark.parametrize("as_list", [True, False])
def test_suppressed_tokens(as_list: bool, rng: torch.Generator) -> None:
    logits = random_logits(2, 2, 1300, rng=rng)
    tokens = [*logits.flatten(0, 1).argmax(-1).tolist(), 0, 511, 512, 1299, 0]
    suppressed = tokens if as_list else torch.tensor(tokens, device=rng.device)
    ours = topk_confidence(logits, k=64, suppress_tokens=suppressed)
    assert_same(ours, reference.topk_confidence(logits.cpu(), k=64, suppress_tokens=tokens))
    assert not torch.isin(ours.ids, torch.tensor(tokens, device=rng.device)).any()
    nothing = topk_confidence(logits, suppress_tokens=range(1300))
    assert (nothing.token == -1).all()
    assert (nothing.confidence == 0).all()


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**31), vocab=st.integers(1, 1100), k=st.integers(1, 64))
def test_properties(seed: int, vocab: int, k: int) -> None:
    rng = torch.Generator().manual_seed(seed)
    logits = random_logits(3, 2, vocab, rng=rng).round(decimals=1).bfloat16()
    logits[torch.rand(logits.shape, generator=rng) < 0.2] = -INF

    ours = topk_confidence(logits, k=k)

    shown = ours.ids >= 0
    assert torch.equal(shown, torch.isfinite(logits).sum(-1, keepdim=True) > torch.arange(k))
    values = logits.gather(-1, ours.ids.clamp(min=0))
    ordered = (values[..., :-1] > values[..., 1:]) | (
        (values[..., :-1] == values[..., 1:]) & (ours.ids[..., :-1] < ours.ids[..., 1:])
    )
    assert (ordered | ~shown[..., 1:]).all()
    assert (ours.probs.sum(-1) <= 1 + 1e-5).all()
    assert torch.equal(ours.probs[..., 0], ours.confidence)
    alone = topk_confidence(logits[1:2, 1:], k=k)
    for got, wanted in zip(alone, ours, strict=True):
        assert torch.equal(got, wanted[1:2, 1:])


def test_threads_do_not_change_a_bit(rng: torch.Generator) -> None:
    logits = random_logits(3, 11, 3000, rng=rng)
    before = torch.get_num_threads()
    results = []
    for threads in (1, 2, 5):
        torch.set_num_threads(threads)
        results.append(topk_confidence(logits, k=7, temperature=1.0))
    torch.set_num_threads(before)
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


@pytest.mark.parametrize("shape", [(0, 3, 5), (2, 0, 5)])
def test_empty(shape: tuple[int, ...], device: torch.device) -> None:
    result = topk_confidence(torch.zeros(shape, device=device), k=2)
    assert result.token.shape == shape[:2]
    assert result.ids.shape == (*shape[:2], 2)
    padding = torch.full((shape[0], 4), -1, dtype=torch.int32, device=device)
    assert (topk_confidence(torch.zeros(shape, device=device), padding).token == -1).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"k": 0}, r"k must be in 1\.\.64, got 0"),
        ({"k": -1}, r"k must be in 1\.\.64, got -1"),
        ({"temperature": -1.0}, "temperature must be finite and at least 0, got -1"),
        ({"temperature": NAN}, "temperature must be finite and at least 0, got nan"),
        ({"temperature": INF}, "temperature must be finite and at least 0, got inf"),
        ({"top_k": -1}, "top_k must be at least 0, got -1"),
        ({"top_p": 0.0}, r"top_p must be in \(0, 1\], got 0"),
        ({"top_p": 1.5}, r"top_p must be in \(0, 1\], got 1.5"),
        ({"logit_scale": 0.0}, "logit_scale must be finite and above 0, got 0"),
        ({"row_shift": -1}, "row_shift must be in 0"),
        ({"row_offset": -1}, "row_offset must be in 0"),
        ({"suppress_tokens": [3, 7]}, r"suppress_tokens must be in 0\.\.6, got 7"),
        ({"suppress_tokens": torch.zeros(1)}, "suppress_tokens must be an integer .*, got float32"),
        ({"seed": torch.zeros(3, dtype=torch.int64)}, r"seed must be \[B\] = \[2\], got \[3\]"),
        ({"step": torch.zeros(2, dtype=torch.int64)}, r"step must have one element, got \[2\]"),
    ],
)
def test_says_which_number_is_wrong(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        topk_confidence(torch.zeros(2, 3, 7), **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("positions", "message"),
    [
        ([[0, 3]], r"positions must be in -1\.\.2, got 3"),
        ([[0, -2]], r"positions must be in -1\.\.2, got -2"),
        ([[0], [1]], r"positions must be \[B, N\] = \[1, any\], got \[2, 1\]"),
        ([0, 1], r"positions must be \[B, N\], got int32 \[2\]"),
    ],
)
def test_says_which_position_is_wrong(positions: list[object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        topk_confidence(torch.zeros(1, 3, 7), torch.tensor(positions, dtype=torch.int32))


def test_says_which_logits_it_takes() -> None:
    with pytest.raises(
        ValueError, match="logits must be float32, bfloat16 or float16, got float64"
    ):
        topk_confidence(torch.zeros(1, 3, 7, dtype=torch.float64))
    with pytest.raises(ValueError, match=r"logits must be \[B, L, V\], got float32 \[3, 7\]"):
        topk_confidence(torch.zeros(3, 7))
    with pytest.raises(ValueError, match=r"vocabulary V must be in 1\.\.1048576, got 0"):
        topk_confidence(torch.zeros(1, 3, 0))
    with pytest.raises(ValueError, match="positions must be int32, got int64"):
        topk_confidence(torch.zeros(1, 3, 7), torch.zeros(1, 1, dtype=torch.int64))


def test_registration(rng: torch.Generator) -> None:
    logits = random_logits(2, 4, 600, rng=rng)
    positions = torch.tensor([[0, -1], [3, 1]], dtype=torch.int32, device=rng.device)
    seeds = torch.tensor([5, 6], device=rng.device)
    step = torch.tensor([2], device=rng.device)
    operator = torch.ops.unmask.topk_confidence.default
    torch.library.opcheck(operator, (logits,), {"k": 3})
    options = {"temperature": 0.7, "request_seeds": seeds, "device_step": step}
    torch.library.opcheck(operator, (logits, positions), options)

    def step_of_a_decoder(logits: Tensor, positions: Tensor, step: Tensor) -> TopKConfidence:
        return topk_confidence(logits, positions, k=2, temperature=1.0, seed=seeds, step=step)

    compiled = torch.compile(step_of_a_decoder, fullgraph=True)
    expected = step_of_a_decoder(logits, positions, step)
    for got, wanted in zip(compiled(logits, positions, step), expected, strict=True):
        assert torch.equal(got, wanted)


def test_numpy_gives_the_same(rng: torch.Generator) -> None:
    logits = random_logits(2, 4, 600, rng=rng).cpu()
    positions = torch.tensor([[0, -1], [3, 1]], dtype=torch.int32)
    options = {"k": 3, "temperature": 0.7, "top_k": 20, "top_p": 0.9, "row_shift": 1, "step": 4}
    suppressed, seeds = torch.tensor([1, 5]), torch.tensor([8, 9])
    ours = topk_confidence(logits, positions, suppress_tokens=suppressed, seed=seeds, **options)
    theirs = arrays.topk_confidence(
        logits.numpy(),
        positions.numpy(),
        suppress_tokens=suppressed.numpy(),
        seed=seeds.numpy(),
        **options,
    )
    for got, wanted in zip(theirs, ours, strict=True):
        if wanted.is_floating_point():  # numpy runs the CPU backend: each is 1e-5 from float64
            np.testing.assert_allclose(got, wanted.numpy(), rtol=2e-5, atol=2.0**-126)
        else:
            assert np.array_equal(got, wanted.numpy())
    with pytest.raises(NotImplementedError, match="k can be at most 64, got 65"):
        arrays.topk_confidence(logits.numpy(), k=65)
