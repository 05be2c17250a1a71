import numpy as np
import pytest
import torch
from graphs import chain, random_graph
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from unmask import arrays, independent_set, independent_set_csr, reference
from unmask.reference import pack_bits

SEAMS = [0, 1, 2, 31, 32, 33, 257, 1023, 1024, 1499, 1500]  # around our sorts too


def rows_of(edges: Tensor, dtype: torch.dtype = torch.int32) -> tuple[Tensor, Tensor]:
    """[n, n] bool -> indptr, indices."""
    counts = edges.sum(1).cumsum(0)
    indptr = torch.cat([counts.new_zeros(1), counts]).to(dtype)
    return indptr, edges.nonzero()[:, 1].int()


@pytest.mark.parametrize("n", SEAMS)
@pytest.mark.parametrize("density", [0.0, 0.02, 0.5])
@pytest.mark.parametrize("dtype", [torch.int32, torch.int64])
def test_equals_the_bits(n: int, density: float, dtype: torch.dtype, rng: torch.Generator) -> None:
    edges = random_graph(1, n, density, rng)
    both_ways = edges | edges.mT
    priority = torch.randint(0, 50, (n,), generator=rng, device=rng.device) / 7  # many ties
    eligible = torch.rand(n, generator=rng, device=rng.device) < 0.8

    for graph, symmetric in [(edges, False), (both_ways, False), (both_ways, True)]:
        rows = rows_of(graph[0], dtype)
        for chosen in (None, eligible):
            selected = independent_set_csr(*rows, priority, eligible=chosen, symmetric=symmetric)
            batched = None if chosen is None else chosen[None]
            expected = independent_set(pack_bits(graph), priority[None], eligible=batched)
            assert torch.equal(selected, expected[0])


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 2**31), n=st.integers(0, 60), density=st.floats(0, 1))
def test_equals_the_reference(seed: int, n: int, density: float) -> None:
    rng = torch.Generator().manual_seed(seed)
    rows = rows_of(random_graph(1, n, density, rng)[0])
    priority = torch.randn(n, generator=rng)
    priority[torch.rand(n, generator=rng) < 0.2] = float("nan")
    selected = independent_set_csr(*rows, priority)
    assert torch.equal(selected, reference.independent_set_csr(*rows, priority))


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("way", ["up", "down", "shuffled"])
def test_chain_takes_every_second(symmetric: bool, way: str, device: torch.device) -> None:
    """Longer than any block of a kernel, and against the order in which nodes are numbered."""
    n = 2048
    nodes = {
        "up": torch.arange(n),
        "down": torch.arange(n).flip(0),
        "shuffled": torch.randperm(n, generator=torch.Generator().manual_seed(0)),
    }[way].to(device)  # along the chain
    place = nodes.argsort()
    rows = rows_of(chain(n, device)[0][place][:, place])
    selected = independent_set_csr(*rows, -place.float(), symmetric=symmetric)
    assert selected[nodes].tolist() == [v % 2 == 0 for v in range(n)]


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("hub", [0, 1000, 2499])
def test_star(symmetric: bool, hub: int, device: torch.device) -> None:
    n = 2500
    leaves = torch.cat([torch.arange(hub), torch.arange(hub + 1, n)]).int().to(device)
    row = torch.arange(n + 1, device=device)
    indptr = (row + (row > hub) * (n - 2)).int()
    indices = torch.full((2 * (n - 1),), hub, dtype=torch.int32, device=device)
    indices[hub : hub + n - 1] = leaves
    for priority in (2.0, 0.0, float("nan")):
        priorities = torch.ones(n, device=device)
        priorities[hub] = priority
        selected = independent_set_csr(indptr, indices, priorities, symmetric=symmetric)
        assert selected.tolist() == [(v == hub) == (priority == 2.0) for v in range(n)]


@pytest.mark.parametrize("symmetric", [False, True])
def test_a_large_graph_is_independent_and_maximal(symmetric: bool, rng: torch.Generator) -> None:
    """A ring in which everyone excludes the next 3 on both sides; no bits could hold it."""
    n, reach = 200_000, 3
    node = torch.arange(n, device=rng.device)
    offsets = torch.cat([torch.arange(-reach, 0), torch.arange(1, reach + 1)]).to(rng.device)
    indices = ((node[:, None] + offsets) % n).int().flatten()
    indptr = torch.arange(n + 1, device=rng.device) * len(offsets)
    priority = torch.rand(n, generator=rng, device=rng.device)

    selected = independent_set_csr(indptr, indices, priority, symmetric=symmetric)

    neighbours = selected[indices.long()].view(n, -1)
    assert torch.equal(selected, ~neighbours.any(1))
    outranked = neighbours & (priority[indices.long()].view(n, -1) >= priority[:, None])
    assert (selected | outranked.any(1)).all(), "excluded, but by nobody of higher priority"


@pytest.mark.parametrize("n", [100, 3000])
def test_clustered_priorities_are_sorted_too(n: int, rng: torch.Generator) -> None:
    """Nearly all priorities share the digits that sort; one outlier stretches the range."""
    priority = 1 + torch.rand(n, generator=rng, device=rng.device) * 1e-4
    priority[0] = float("-inf")
    edges = random_graph(1, n, 4 / n, rng)[0]
    rows = rows_of(edges)
    assert torch.equal(
        independent_set_csr(*rows, priority), reference.independent_set_csr(*rows, priority)
    )
    assert torch.equal(
        independent_set(pack_bits(edges[None]), priority[None])[0],
        reference.independent_set_csr(*rows, priority),
    )


def test_what_points_outside_is_refused() -> None:
    indptr, indices = rows_of(chain(4, torch.device("cpu"))[0])
    priority = torch.zeros(4)
    for bad in (-1, 4, 2**31 - 1):
        wrong = indices.clone()
        wrong[0] = bad
        for symmetric in (False, True):
            with pytest.raises(ValueError, match=rf"indices must be in 0\.\.3, got {bad} in row 0"):
                independent_set_csr(indptr, wrong, priority, symmetric=symmetric)
    for dtype, row in [(torch.int32, [0, -1, 3, 5, 6]), (torch.int64, [0, 2**40, 3, 5, 6])]:
        wrong = torch.tensor(row, dtype=dtype)
        with pytest.raises(
            ValueError, match=r"indptr must ascend within 0\.\.E, got a row outside"
        ):
            independent_set_csr(wrong, indices, priority)


def test_kernels_ignore_what_points_outside(
    device: torch.device, request: pytest.FixtureRequest
) -> None:
    """Device memory cannot be checked without waiting. On the CPU it is refused, see above."""
    if request.node.callspec.params["device"] == "cpu":
        return
    indptr = torch.tensor([0, 2, 4, 6, 7], device=device)
    indices = torch.tensor([-1, 2**31 - 1, 0, 4, 1, -(2**31), 2], dtype=torch.int32, device=device)
    priority = -torch.arange(4.0, device=device)
    assert independent_set_csr(indptr, indices, priority).tolist() == [True, False, True, False]
    for row, offset in [(4, 8), (2, 2**40), (1, -5), (0, -(2**60)), (3, 0)]:
        indptr[row] = offset
        independent_set_csr(indptr, indices, priority)
    assert independent_set_csr(indptr, indices, priority).all(), "a row outside excludes nobody"


def test_says_what_is_wrong(device: torch.device) -> None:
    indptr, indices = rows_of(chain(4, device)[0])
    priority = torch.zeros(4, device=device)
    for arguments, message in [
        ((indptr, indices, priority.double()), r"priority must be float32, got float64 \[4\]"),
        ((indptr, indices, priority[None]), r"priority must be \[N\], got float32 \[1, 4\]"),
        ((indptr.float(), indices, priority), "indptr must be int32 or int64, got float32"),
        ((indptr[:-1], indices, priority), r"indptr must be \[N \+ 1\] = \[5\], got \[4\]"),
        ((indptr, indices.long(), priority), r"indices must be int32, got int64 \[6\]"),
        ((indptr, indices[None], priority), r"indices must be \[E\], got int32 \[1, 6\]"),
    ]:
        with pytest.raises(ValueError, match=message):
            independent_set_csr(*arguments)
    with pytest.raises(ValueError, match=r"eligible must be \[N\] = \[4\], got \[3\]"):
        independent_set_csr(indptr, indices, priority, eligible=priority[:3] > 0)


def test_numpy_gives_the_same(rng: torch.Generator) -> None:
    edges = random_graph(1, 90, 0.1, rng)[0].cpu()
    priority = torch.rand(90)
    for rows in (rows_of(edges), rows_of(edges, torch.int64)):
        ours = arrays.independent_set_csr(*(part.numpy() for part in (*rows, priority)))
        assert np.array_equal(ours, independent_set_csr(*rows, priority).numpy())


def test_registration(rng: torch.Generator) -> None:
    rows = rows_of(random_graph(1, 40, 0.1, rng)[0])
    priority = torch.rand(40, generator=rng, device=rng.device)
    op = torch.ops.unmask.independent_set_csr.default
    torch.library.opcheck(op, (*rows, priority), {"eligible": priority > 0.1})
    compiled = torch.compile(independent_set_csr, fullgraph=True)
    assert torch.equal(compiled(*rows, priority), independent_set_csr(*rows, priority))
