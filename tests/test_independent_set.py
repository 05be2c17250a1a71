import pytest
import torch
from graphs import chain, random_graph
from hypothesis import given, settings
from hypothesis import strategies as st
from unmask import independent_set, reference
from unmask.reference import pack_bits

SEAMS = [0, 1, 31, 32, 33, 64, 257, 1023, 1024]  # around the word, the warp and the block


@pytest.mark.parametrize("n", SEAMS)
@pytest.mark.parametrize("density", [0.0, 0.05, 0.5, 1.0])
def test_equals_the_sequential_scan(n: int, density: float, rng: torch.Generator) -> None:
    conflict = pack_bits(random_graph(3, n, density, rng))
    priority = torch.rand(3, n, generator=rng, device=rng.device)
    eligible = torch.rand(3, n, generator=rng, device=rng.device) < 0.8

    selected = independent_set(conflict, priority, eligible=eligible)

    assert torch.equal(selected, reference.independent_set(conflict, priority, eligible))


def test_chain_takes_every_second(device: torch.device) -> None:
    priority = -torch.arange(1024.0, device=device).unsqueeze(0)
    selected = independent_set(pack_bits(chain(1024, device)), priority)
    assert selected[0].tolist() == [v % 2 == 0 for v in range(1024)]


def test_ties_go_to_the_lower_index_and_nan_comes_last(device: torch.device) -> None:
    clique = pack_bits(random_graph(1, 4, 2.0, torch.Generator(device)))
    for priority, winner in [
        ([1.0, 1.0, 1.0, 1.0], 0),
        ([0.0, -0.0, -1.0, -1.0], 0),
        ([-0.0, 0.0, -1.0, -1.0], 0),
        ([float("nan"), -float("inf"), -2.0, -3.0], 2),
        ([float("nan"), float("nan"), float("nan"), -float("inf")], 3),
        ([0.0, float("inf"), 3.0, float("inf")], 1),
    ]:
        selected = independent_set(clique, torch.tensor([priority], device=device))
        assert selected[0].nonzero().flatten().tolist() == [winner]


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 2**31), n=st.integers(1, 90), density=st.floats(0, 1))
def test_is_independent_maximal_and_batch_invariant(seed: int, n: int, density: float) -> None:
    rng = torch.Generator().manual_seed(seed)
    edges = random_graph(3, n, density, rng)
    edges = edges | edges.mT
    priority = torch.randint(0, 8, (3, n), generator=rng).float()  # many ties

    selected = independent_set(pack_bits(edges), priority)

    excluded = (edges & selected.unsqueeze(1)).any(-1)
    assert not (selected & excluded).any(), "two selected nodes are in conflict"
    assert (selected | excluded).all(), "a node could still be added"
    alone = independent_set(pack_bits(edges[1:2]), priority[1:2])
    assert torch.equal(alone, selected[1:2])


def test_permuting_nodes_permutes_the_set(rng: torch.Generator) -> None:
    n = 200
    edges = random_graph(1, n, 0.1, rng)
    priority = torch.randperm(n, generator=rng, device=rng.device).float().unsqueeze(0)
    order = torch.randperm(n, generator=rng, device=rng.device)

    selected = independent_set(pack_bits(edges), priority)
    permuted = independent_set(pack_bits(edges[:, order][:, :, order]), priority[:, order])

    assert torch.equal(permuted, selected[:, order])


@pytest.mark.parametrize(
    ("conflict", "priority", "message"),
    [
        ((2, 64, 3), (2, 64), r"conflict must be \[B, N, ceil\(N / 32\)\] = \[2, 64, 2\], got"),
        ((2, 64, 2), (3, 64), r"priority must be \[B, N\] = \[2, 64\], got \[3, 64\]"),
        ((64, 2), (2, 64), r"conflict must be .*, got int32 \[64, 2\]"),
    ],
)
def test_says_what_is_wrong(
    conflict: tuple[int, ...], priority: tuple[int, ...], message: str, device: torch.device
) -> None:
    bits = torch.zeros(conflict, dtype=torch.int32, device=device)
    with pytest.raises(ValueError, match=message):
        independent_set(bits, torch.zeros(priority, device=device))


def test_refuses_other_types_views_and_sizes(device: torch.device) -> None:
    bits = torch.zeros(1, 4, 1, dtype=torch.int32, device=device)
    priority = torch.zeros(1, 4, device=device)
    with pytest.raises(ValueError, match="priority must be float32, got float64"):
        independent_set(bits, priority.double())
    with pytest.raises(ValueError, match="eligible must be bool, got int32"):
        independent_set(
            bits, priority, eligible=torch.zeros(1, 4, dtype=torch.int32, device=device)
        )
    too_many = torch.zeros(1, 8193, 257, dtype=torch.int32, device=device)
    with pytest.raises(NotImplementedError, match="nodes N can be at most 8192, got 8193"):
        independent_set(too_many, torch.zeros(1, 8193, device=device))


def test_registration(rng: torch.Generator) -> None:
    conflict = pack_bits(random_graph(2, 40, 0.3, rng))
    priority = torch.rand(2, 40, generator=rng, device=rng.device)
    torch.library.opcheck(torch.ops.unmask.independent_set.default, (conflict, priority))
    compiled = torch.compile(independent_set, fullgraph=True)
    assert torch.equal(compiled(conflict, priority), independent_set(conflict, priority))
