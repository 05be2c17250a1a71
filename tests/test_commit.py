import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from unmask import arrays, commit_, reference


def random_case(
    batch: int, length: int, nodes: int, rng: torch.Generator, dtype: torch.dtype = torch.int64
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Tokens, distinct positions with padding, tokens to write with gaps, selection."""

    def draw(low: int, high: int, shape: tuple[int, ...]) -> Tensor:
        return torch.randint(low, high, shape, generator=rng, device=rng.device)

    places = torch.stack(
        [torch.randperm(length, generator=rng, device=rng.device)[:nodes] for _ in range(batch)]
    )
    positions = torch.where(draw(0, 4, places.shape) == 0, -1, places).int()
    token = draw(-1, 5, places.shape)
    return draw(7, 10, (batch, length)).to(dtype), positions, token, draw(0, 2, places.shape) == 1


@pytest.mark.parametrize(("length", "nodes"), [(1, 0), (1, 1), (33, 32), (1025, 1024), (64, 64)])
@pytest.mark.parametrize("dtype", [torch.int64, torch.int32])
def test_writes_what_is_selected(
    length: int, nodes: int, dtype: torch.dtype, rng: torch.Generator
) -> None:
    tokens, positions, token, selected = random_case(3, length, nodes, rng, dtype)
    expected = tokens.clone()
    counts = reference.commit_(expected, positions, token, selected)

    committed = commit_(tokens, positions, token, selected)

    assert committed.dtype == torch.int32
    assert torch.equal(committed, counts)
    assert torch.equal(tokens, expected)


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 2**31), nodes=st.integers(0, 80))
def test_changes_only_selected_positions(seed: int, nodes: int) -> None:
    tokens, positions, token, selected = random_case(
        2, 80, nodes, torch.Generator().manual_seed(seed)
    )
    before = tokens.clone()
    committed = commit_(tokens, positions, token, selected)
    written = selected & (positions >= 0) & (token >= 0)
    assert torch.equal(committed, written.sum(1).int())
    touched = torch.zeros_like(tokens, dtype=torch.bool)
    for b, n in written.nonzero().tolist():
        touched[b, positions[b, n]] = True
        assert tokens[b, positions[b, n]] == token[b, n]
    assert torch.equal(tokens[~touched], before[~touched])


def test_writes_into_a_view_and_nowhere_else(rng: torch.Generator) -> None:
    tokens, positions, token, selected = random_case(2, 50, 20, rng)
    wide = torch.full((4, 60), -5, device=rng.device)
    wide[1:3, 3:53] = tokens
    commit_(wide[1:3, 3:53], positions, token, selected)
    commit_(tokens, positions, token, selected)
    assert torch.equal(wide[1:3, 3:53], tokens)
    wide[1:3, 3:53] = -5
    assert (wide == -5).all(), "something outside the view was written"


@pytest.mark.parametrize("bad", [-2, 8, 2**31 - 1, -(2**31)])
def test_a_position_outside_is_refused_before_anything_is_written(bad: int) -> None:
    tokens = torch.zeros(2, 8, dtype=torch.int64)
    positions = torch.tensor([[0, 1], [2, bad]], dtype=torch.int32)
    token, selected = torch.ones(2, 2, dtype=torch.int64), torch.ones(2, 2, dtype=torch.bool)
    with pytest.raises(ValueError, match=rf"positions must be in -1\.\.7, got {bad}"):
        commit_(tokens, positions, token, selected)
    assert (tokens == 0).all()


def test_says_what_is_wrong(device: torch.device) -> None:
    tokens = torch.zeros(2, 8, dtype=torch.int64, device=device)
    positions = torch.zeros(2, 3, dtype=torch.int32, device=device)
    token = torch.zeros(2, 3, dtype=torch.int64, device=device)
    selected = torch.zeros(2, 3, dtype=torch.bool, device=device)
    for arguments, message in [
        (
            (tokens.float(), positions, token, selected),
            "tokens must be int64 or int32, got float32",
        ),
        ((tokens[0], positions, token, selected), r"tokens must be \[B, L\], got int64 \[8\]"),
        ((tokens[:, ::2], positions, token, selected), "tokens must have unit stride over the seq"),
        (
            (tokens[:1].expand(2, 8), positions, token, selected),
            "tokens must have rows that do not overlap, got row stride 0",
        ),
        (
            (tokens, positions.long(), token, selected),
            r"positions must be int32, got int64 \[2, 3\]",
        ),
        ((tokens, positions[:1], token, selected), r"positions must be \[B, N\] = \[2, 3\], got"),
        ((tokens, positions, token.int(), selected), r"token must be int64, got int32 \[2, 3\]"),
        ((tokens, positions, token[:, :2], selected), r"token must be \[B, N\] = \[2, 3\], got"),
        ((tokens, positions, token, selected.int()), r"selected must be bool, got int32 \[2, 3\]"),
    ]:
        with pytest.raises(ValueError, match=message):
            commit_(*arguments)


def test_numpy_gives_the_same(rng: torch.Generator) -> None:
    tokens, positions, token, selected = (part.cpu() for part in random_case(2, 40, 30, rng))
    theirs = tokens.numpy().copy()
    counts = arrays.commit_(theirs, positions.numpy(), token.numpy(), selected.numpy())
    assert np.array_equal(counts, commit_(tokens, positions, token, selected).numpy())
    assert np.array_equal(theirs, tokens.numpy())
    theirs.flags.writeable = False
    with pytest.raises(ValueError, match="tokens must be writeable, got a read-only array"):
        arrays.commit_(theirs, positions.numpy(), token.numpy(), selected.numpy())


def test_registration(rng: torch.Generator) -> None:
    tokens, positions, token, selected = random_case(2, 40, 30, rng)
    torch.library.opcheck(
        torch.ops.unmask.commit_.default, (tokens.clone(), positions, token, selected)
    )
    compiled = torch.compile(commit_, fullgraph=True)
    other = tokens.clone()
    counts = compiled(other, positions, token, selected)
    assert torch.equal(counts, commit_(tokens, positions, token, selected))
    assert torch.equal(other, tokens)
