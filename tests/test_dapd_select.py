import math
from itertools import product

import numpy as np
import pytest
import torch
from graphs import random_graph
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from unmask import arrays, dapd_select, reference
from unmask.reference import pack_bits

SEAMS = [0, 1, 31, 32, 33, 257, 1024]


def random_nodes(batch: int, n: int, rng: torch.Generator, density: float = 0.2) -> list[Tensor]:
    """Confidence, token, conflict, degree, remaining, gen_length; rows at different progress."""

    def draw(high: int, shape: tuple[int, ...] = (batch, n)) -> Tensor:
        return torch.randint(0, high, shape, generator=rng, device=rng.device)

    gen_length = draw(100, (batch,)).int()
    remaining = (gen_length * torch.rand(batch, generator=rng, device=rng.device)).int()
    return [
        1 - (draw(40) / 40) ** 3,
        torch.where(draw(4) == 0, -1, draw(100)),
        pack_bits(random_graph(batch, n, density, rng)),
        draw(16) / 4,
        remaining,
        gen_length,
    ]


CONFIGURATIONS = [
    {"order": order, "precommit": precommit, "late": late}
    for order, precommit, late in product(
        ["degree*confidence", "degree", "confidence"],
        [None, 0.998046875],
        [None, "union", "switch"],
    )
]


@pytest.mark.parametrize("configuration", CONFIGURATIONS, ids=str)
def test_equals_the_reference(configuration: dict[str, object], rng: torch.Generator) -> None:
    for n in SEAMS:
        nodes = random_nodes(4, n, rng)
        selected = dapd_select(*nodes, **configuration)
        assert torch.equal(selected, reference.dapd_select(*nodes, **configuration)), n


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    n=st.integers(1, 70),
    configuration=st.sampled_from(CONFIGURATIONS),
    threshold=st.floats(0, 1.2),
    progress=st.floats(0, 1),
)
def test_always_selects_somebody_whatever_the_batch(
    seed: int, n: int, configuration: dict[str, object], threshold: float, progress: float
) -> None:
    nodes = random_nodes(3, n, torch.Generator().manual_seed(seed))
    late = {"late_threshold": threshold, "late_progress": progress}
    selected = dapd_select(*nodes, **configuration, **late)
    usable = nodes[1] >= 0
    assert not (selected & ~usable).any()
    assert torch.equal(selected.any(1), usable.any(1))
    alone = [part[2:3] for part in nodes]
    assert torch.equal(dapd_select(*alone, **configuration, **late), selected[2:3])


def clique(confidence: list[float], device: torch.device) -> list[Tensor]:
    """Everyone excludes everyone; all have a token; half of 8 masks are left."""
    n = len(confidence)
    return [
        torch.tensor([confidence], device=device),
        torch.ones(1, n, dtype=torch.int64, device=device),
        pack_bits(~torch.eye(n, dtype=torch.bool, device=device).unsqueeze(0)),
        torch.ones(1, n, device=device),
        torch.tensor([4], dtype=torch.int32, device=device),
        torch.tensor([8], dtype=torch.int32, device=device),
    ]


def test_variants_worked_by_hand(device: torch.device) -> None:
    nodes = clique([0.5, 0.99, 0.95, 0.91, math.nan], device)

    def picked(**configuration: object) -> list[int]:
        return dapd_select(*nodes, **configuration)[0].nonzero().flatten().tolist()

    assert picked() == [1]
    assert picked(precommit=0.95) == [1, 2, 3], "the certain ones exclude nobody"
    assert picked(late="union") == [1, 2, 3]
    assert picked(late="union", late_progress=0.51) == [1]
    assert picked(late="switch", late_threshold=0.95) == [1, 2]
    assert picked(late="switch", late_threshold=1.5, precommit=0.9) == [1], "the fallback"
    nodes[3][0, 0] = 10.0
    assert picked() == [0]
    assert picked(order="degree") == [0]
    assert picked(order="confidence") == [1]
    nodes[1][:] = -1
    assert picked(late="union", precommit=0.9) == []


def test_nothing_generated_is_no_progress(device: torch.device) -> None:
    nodes = clique([0.95, 0.95], device)
    nodes[5][:] = 0
    assert dapd_select(*nodes, late="union").sum() == 1
    assert dapd_select(*nodes, late="union", late_progress=0.0).sum() == 2


def test_tau_is_what_torch_computes() -> None:
    """The schedule rounds as the same line on a float32 tensor does, to the bit."""
    rng = torch.Generator().manual_seed(0)
    gen_length = torch.randint(1, 100_000, (2000,), generator=rng, dtype=torch.int32)
    remaining = (gen_length * torch.rand(2000, generator=rng)).int()
    for tau_min, tau_max in [(0.01, 0.15), (0.005, 0.01), (0.0, 1.0), (0.1, 0.1), (0.3, 0.1)]:
        expected = tau_min + (tau_max - tau_min) * (1 - remaining / gen_length)
        tau = [
            arrays.tau_at(tau_min, tau_max, arrays.progress_of(left, total))
            for left, total in zip(remaining.tolist(), gen_length.tolist(), strict=True)
        ]
        assert torch.equal(torch.tensor(tau), expected)
    assert arrays.progress_of(0, 0) == 0.0


@pytest.mark.parametrize(
    ("which", "value", "message"),
    [
        (0, torch.zeros(4), r"confidence must be \[B, N\], got float32 \[4\]"),
        (1, torch.zeros(1, 4), r"token must be int64, got float32 \[1, 4\]"),
        (2, torch.zeros(1, 4, 2, dtype=torch.int32), r"conflict must be .* = \[1, 4, 1\], got"),
        (3, torch.zeros(1, 5), r"degree must be \[B, N\] = \[1, 4\], got \[1, 5\]"),
        (4, torch.zeros(1, dtype=torch.int64), r"remaining must be int32, got int64 \[1\]"),
        (5, torch.zeros(2, dtype=torch.int32), r"gen_length must be \[B\] = \[1\], got \[2\]"),
    ],
)
def test_says_what_is_wrong(which: int, value: Tensor, message: str) -> None:
    nodes = clique([0.1, 0.2, 0.3, 0.4], torch.device("cpu"))
    nodes[which] = value
    with pytest.raises(ValueError, match=message):
        dapd_select(*nodes)


def test_says_which_words_and_numbers_are_wrong(device: torch.device) -> None:
    nodes = clique([0.1, 0.2], device)
    with pytest.raises(ValueError, match=r"order must be one of 'degree\*confidence', .*'width'"):
        dapd_select(*nodes, order="width")
    with pytest.raises(ValueError, match="late must be one of 'union', 'switch', got 'never'"):
        dapd_select(*nodes, late="never")
    for name in ["precommit", "late_threshold", "late_progress"]:
        with pytest.raises(ValueError, match=f"{name} must be a number, got nan"):
            dapd_select(*nodes, **{name: math.nan})


def test_numpy_gives_the_same(rng: torch.Generator) -> None:
    nodes = [part.cpu() for part in random_nodes(3, 60, rng)]
    for configuration in CONFIGURATIONS:
        ours = arrays.dapd_select(*(part.numpy() for part in nodes), **configuration)
        assert np.array_equal(ours, dapd_select(*nodes, **configuration).numpy())


def test_as_many_nodes_as_there_may_be(rng: torch.Generator) -> None:
    n = 8192
    nodes = random_nodes(1, 1, rng)
    nodes[0] = torch.rand(1, n, generator=rng, device=rng.device)
    nodes[1] = torch.randint(-1, 5, (1, n), generator=rng, device=rng.device)
    bits = torch.randint(0, 2**31, (3, 1, n, n // 32), generator=rng, device=rng.device)
    nodes[2] = (bits[0] & bits[1] & bits[2]).int()  # every eighth pair
    nodes[3] = torch.rand(1, n, generator=rng, device=rng.device)
    selected = dapd_select(*nodes, late="union", precommit=0.999)
    ours = arrays.dapd_select(
        *(part.cpu().numpy() for part in nodes), late="union", precommit=0.999
    )
    assert np.array_equal(ours, selected.cpu().numpy())
    assert selected.sum() > 20


def test_registration(rng: torch.Generator) -> None:
    nodes = random_nodes(2, 40, rng)
    op = torch.ops.unmask.dapd_select.default
    torch.library.opcheck(op, tuple(nodes))
    torch.library.opcheck(op, tuple(nodes), {"late": "union", "precommit": 0.9})
    compiled = torch.compile(dapd_select, fullgraph=True)
    assert torch.equal(compiled(*nodes, late="switch"), dapd_select(*nodes, late="switch"))
