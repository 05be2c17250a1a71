"""The bits of a score do not depend on what else is computed, nor on where its arrays lie."""

import pytest
import torch
from attention import assert_scores, heads, log_sum_exp, nodes
from unmask import attention_scores, reference


def test_a_row_does_not_see_its_neighbours(rng: torch.Generator) -> None:
    query, key = (heads(rng, 1, 4, 200, 64, torch.bfloat16) for _ in range(2))
    positions = torch.arange(100, dtype=torch.int32, device=rng.device).unsqueeze(0)
    scores = attention_scores(query, key, positions)
    few = attention_scores(query, key, positions[:, 64:67].contiguous())
    assert torch.equal(few, scores[:, 64:67, 64:67])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("offset", [1, 4, 7])
@pytest.mark.parametrize("dim", [9, 16])
def test_bits_do_not_depend_on_where_arrays_lie(
    dim: int, offset: int, dtype: torch.dtype, rng: torch.Generator
) -> None:
    """A BLAS sums in another order at another alignment; the operator must not let it."""
    query, key = (heads(rng, 3, 2, 19, dim, dtype) for _ in range(2))
    positions = nodes(rng, 3, 11, 19)

    def moved(tensor: torch.Tensor) -> torch.Tensor:
        room = torch.empty(tensor.numel() + offset, dtype=dtype, device=rng.device)
        room[offset:] = tensor.flatten()
        return room[offset:].view(tensor.shape)

    here = attention_scores(query, key, positions)
    there = attention_scores(moved(query), moved(key), positions)
    assert torch.equal(here, there)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("has_lse", [False, True])
def test_bits_do_not_depend_on_batch_or_padding(
    has_lse: bool, dtype: torch.dtype, rng: torch.Generator
) -> None:
    """On a GPU a single row shares its nine heads out over blocks, in three parts."""
    query, key = heads(rng, 3, 9, 530, 24, dtype), heads(rng, 3, 3, 530, 24, dtype)
    positions = nodes(rng, 3, 20, 530)
    lse = log_sum_exp(query, key, None, causal=False).float() if has_lse else None
    scores = attention_scores(query, key, positions, lse=lse)
    assert_scores(scores, reference.attention_scores(query, key, positions))

    one = slice(1, 2)
    one_lse = None if lse is None else lse[one]
    alone = attention_scores(query[one], key[one], positions[one], lse=one_lse)
    assert torch.equal(alone, scores[one])
    padded = torch.nn.functional.pad(positions, (0, 70), value=-1)
    wide = attention_scores(query, key, padded, lse=lse)
    assert torch.equal(wide[:, :20, :20], scores)
    assert not wide[:, 20:].any()
    assert not wide[:, :, 20:].any()


@pytest.mark.parametrize("batch", [64, 256])
def test_bits_do_not_depend_on_the_tile(batch: int, rng: torch.Generator) -> None:
    """Many batch rows, few with nodes: on a GPU heads are not shared out, and then tiles grow."""
    query, key = (heads(rng, batch, 6, 70, 16, torch.bfloat16) for _ in range(2))
    positions = nodes(rng, batch, 66, 70)
    positions[1:-1] = -1
    scores = attention_scores(query, key, positions, is_causal=True)
    assert not scores[1:-1].any()
    for one in (slice(0, 1), slice(batch - 1, batch)):
        alone = attention_scores(query[one], key[one], positions[one], is_causal=True)
        assert torch.equal(alone, scores[one])
