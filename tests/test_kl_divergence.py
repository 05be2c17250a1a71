import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from logits import INF, NAN, awkward_rows, random_logits
from unmask import arrays, kl_divergence, reference

# Terms of both signs are summed in float32 relative to the largest logit: 1e-5 relative, and an
# absolute floor for distributions that hardly differ.
TOLERANCE = {"rtol": 1e-5, "atol": 1e-6}


@pytest.mark.parametrize("vocab", [1, 2, 63, 512, 513, 5000])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("moved", [0.01, 1.0, 10.0])
def test_equals_float64(vocab: int, dtype: torch.dtype, moved: float, rng: torch.Generator) -> None:
    now = random_logits(2, 3, vocab, rng=rng).to(dtype)
    before = (now + random_logits(2, 3, vocab, rng=rng, spread=moved)).to(dtype)
    for scale in (0.5, 1.0, 3.0):
        ours = kl_divergence(now, before, logit_scale=scale)
        wanted = reference.kl_divergence(now.cpu(), before.cpu(), logit_scale=scale).float()
        torch.testing.assert_close(ours.cpu(), wanted, **TOLERANCE)


def test_a_full_vocabulary_and_a_common_shift(rng: torch.Generator) -> None:
    now = random_logits(1, 2, 126464, rng=rng)
    before = now + random_logits(1, 2, 126464, rng=rng, spread=0.3)
    wanted = reference.kl_divergence(now.cpu(), before.cpu()).float()
    torch.testing.assert_close(kl_divergence(now, before).cpu(), wanted, **TOLERANCE)
    shifted = before.double() + 1024.0
    wanted = reference.kl_divergence(now.cpu(), shifted.float().cpu()).float()
    torch.testing.assert_close(kl_divergence(now, shifted.float()).cpu(), wanted, **TOLERANCE)


@pytest.mark.parametrize("vocab", [4, 700])
def test_awkward_rows_against_each_other(vocab: int, rng: torch.Generator) -> None:
    rows = awkward_rows(vocab, rng)
    count = rows.shape[1]
    now = rows.repeat_interleave(count, 1)
    before = rows.repeat(1, count, 1)
    wanted = reference.kl_divergence(now.cpu(), before.cpu()).float()
    ours = kl_divergence(now, before).cpu()
    torch.testing.assert_close(ours, wanted, **TOLERANCE)
    assert (ours >= 0).all()


@pytest.mark.parametrize(
    ("now", "before", "expected"),
    [
        ([0.0, 0.0], [0.0, 0.0], 0.0),
        ([0.0, -INF], [0.0, 0.0], 0.6931472),  # what is impossible now counts nothing
        ([0.0, 0.0], [0.0, -INF], INF),  # what was impossible counts everything
        ([0.0, 0.0], [0.0, NAN], INF),
        ([0.0, -1e4], [0.0, -INF], INF),  # possible, however unlikely
        ([INF, 0.0], [0.0, 0.0], 0.6931472),
        ([INF, 0.0], [INF, 5.0], 0.0),
        ([INF, 0.0], [0.0, INF], INF),
        ([INF, 0.0], [-INF, 0.0], INF),
        ([3.0, -INF], [INF, 0.0], 0.0),
        ([3.0, 0.0], [INF, 0.0], INF),
        ([-INF, NAN], [0.0, 0.0], INF),
        ([0.0, 0.0], [NAN, NAN], INF),
        ([NAN, NAN], [NAN, NAN], INF),
    ],
)
@pytest.mark.parametrize("pad", [0, 1000])
def test_impossible_tokens(
    now: list[float], before: list[float], expected: float, pad: int, device: torch.device
) -> None:
    rows = torch.full((2, 1, 1, 2 + pad), -INF, device=device)
    rows[0, 0, 0, -2:] = torch.tensor(now)
    rows[1, 0, 0, -2:] = torch.tensor(before)
    assert kl_divergence(rows[0], rows[1]).item() == pytest.approx(expected, rel=1e-5)
    assert reference.kl_divergence(rows[0].cpu(), rows[1].cpu()).item() == pytest.approx(expected)


def test_positions_and_strides(rng: torch.Generator) -> None:
    storage = random_logits(2, 2, 6, 900, rng=rng)
    now, before = storage[0, :, :, 100:800], storage[1, :, :, :700]
    positions = torch.tensor([[4, -1, 1], [-1, 7, 0]], dtype=torch.int32, device=rng.device)
    options = {"row_shift": 1, "row_offset": 1}
    ours = kl_divergence(now, before, positions, **options)
    wanted = reference.kl_divergence(now.cpu(), before.cpu(), positions.cpu(), **options).float()
    torch.testing.assert_close(ours.cpu(), wanted, **TOLERANCE)
    assert ours[0, 1] == 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_bits_depend_on_neither_batch_nor_alignment(
    dtype: torch.dtype, rng: torch.Generator
) -> None:
    now, before = random_logits(2, 3, 2, 2100, rng=rng).to(dtype)
    divergence = kl_divergence(now, before)
    assert torch.equal(kl_divergence(now[1:2, 1:], before[1:2, 1:]), divergence[1:2, 1:])
    for offset in (1, 3, 8):
        wide = torch.zeros(3, 2, 2109, dtype=dtype, device=now.device)
        elsewhere = wide[..., offset : offset + 2100].copy_(now)
        assert torch.equal(kl_divergence(elsewhere, before), divergence)
    assert (kl_divergence(now, now) == 0).all()


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**31), vocab=st.integers(1, 1100))
def test_is_zero_only_for_equal_rows_and_batch_invariant(seed: int, vocab: int) -> None:
    rng = torch.Generator().manual_seed(seed)
    now, before = random_logits(2, 3, 2, vocab, rng=rng)
    divergence = kl_divergence(now, before)
    assert (kl_divergence(now, now) == 0).all()
    assert torch.equal(divergence > 0, torch.full((3, 2), vocab > 1))
    assert torch.equal(kl_divergence(now[1:2, 1:], before[1:2, 1:]), divergence[1:2, 1:])


def test_says_what_is_wrong(device: torch.device) -> None:
    logits = torch.zeros(1, 3, 7, device=device)
    for previous, message in [
        (logits[:, :2], r"previous must be \[B, L, V\] = \[1, 3, 7\], got \[1, 2, 7\]"),
        (logits.half(), "previous must be float32, got float16"),
        (torch.zeros(1, 3, 14, device=device)[:, :, ::2], "previous must have unit stride over"),
    ]:
        with pytest.raises(ValueError, match=message):
            kl_divergence(logits, previous)
    with pytest.raises(ValueError, match="logit_scale must be finite and above 0, got -1"):
        kl_divergence(logits, logits, logit_scale=-1.0)


def test_a_position_without_a_row(device: torch.device, request: pytest.FixtureRequest) -> None:
    """Refused on the CPU; device memory cannot be checked without waiting: padding there."""
    logits, before = torch.zeros(2, 1, 3, 7, device=device)
    before[..., 0] = 1.0
    positions = torch.tensor([[3, 1, 2**31 - 1]], dtype=torch.int32, device=device)
    if request.node.callspec.params["device"] == "cpu":
        with pytest.raises(ValueError, match=r"positions must be in -1\.\.2, got 3"):
            kl_divergence(logits, before, positions)
    else:
        divergence = kl_divergence(logits, before, positions)
        assert (divergence > 0).tolist() == [[False, True, False]]
        assert divergence[0, 0] == divergence[0, 2] == 0


def test_registration(rng: torch.Generator) -> None:
    now, before = random_logits(2, 2, 4, 600, rng=rng)
    torch.library.opcheck(torch.ops.unmask.kl_divergence.default, (now, before))
    compiled = torch.compile(kl_divergence, fullgraph=True)
    assert torch.equal(compiled(now, before), kl_divergence(now, before))


def test_numpy_gives_the_same(rng: torch.Generator) -> None:
    now, before = random_logits(2, 2, 4, 600, rng=rng)
    theirs = arrays.kl_divergence(now.cpu().numpy(), before.cpu().numpy())
    assert np.allclose(theirs, kl_divergence(now, before).cpu().numpy(), rtol=1e-5)
