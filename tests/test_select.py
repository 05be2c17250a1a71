import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from unmask import arrays, reference, select
from unmask.reference import philox

RULES = [
    ("top", 1), ("top", 7), ("top", 1e6), ("random", 1), ("random", 5),
    ("threshold", 0.9), ("threshold", 1.5), ("threshold", 0.0),
    ("factor", 1.0), ("factor", 0.0), ("factor", 100.0),
    ("entropy", 0.1), ("entropy", 0.0), ("entropy", 50.0),
]  # fmt: skip
SEAMS = [0, 1, 31, 32, 33, 48, 49, 257, 1023, 1024, 2000, 2500]
NAN, INF = math.nan, math.inf


def random_nodes(batch: int, n: int, rng: torch.Generator) -> dict[str, Tensor]:
    """Confidences with many ties and some near 1, every fourth node without a token."""

    def draw(high: int) -> Tensor:
        return torch.randint(0, high, (batch, n), generator=rng, device=rng.device)

    confidence = 1 - (draw(40) / 40) ** 3
    return {
        "confidence": confidence,
        "token": torch.where(draw(4) == 0, -1, draw(100)),
        "entropy": (1 - confidence) * (draw(3) + 1),
        "eligible": draw(5) > 0,
        "positions": draw(5000).int(),
    }


@pytest.mark.parametrize(("rule", "limit"), RULES)
@pytest.mark.parametrize("n", SEAMS)
def test_equals_the_reference(rule: str, limit: float, n: int, rng: torch.Generator) -> None:
    nodes = random_nodes(2, n, rng)
    selected = select(rule=rule, limit=limit, seed=5, step=3, **nodes)
    expected = reference.select(rule=rule, limit=limit, seed=5, step=3, **nodes)
    assert torch.equal(selected, expected)


@settings(max_examples=80, deadline=None)
@given(
    seed=st.integers(0, 2**31), n=st.integers(1, 70), rule=st.sampled_from(RULES),
)  # fmt: skip
def test_selects_somebody_with_a_token_whatever_the_batch(
    seed: int, n: int, rule: tuple[str, float]
) -> None:
    nodes = random_nodes(3, n, torch.Generator().manual_seed(seed))
    requests = torch.tensor([seed, 1, 2])
    selected = select(rule=rule[0], limit=rule[1], seed=requests, **nodes)
    usable = nodes["token"] >= 0
    assert not (selected & ~usable).any()
    assert torch.equal(selected.any(1), usable.any(1))
    alone = {name: value[1:2] for name, value in nodes.items()}
    assert torch.equal(
        select(rule=rule[0], limit=rule[1], seed=requests[1:2], **alone), selected[1:2]
    )


def chosen(rule: str, limit: float, confidence: list[float], **others: Tensor) -> list[int]:
    device = others["device"] if "device" in others else torch.device("cpu")
    values = torch.tensor([confidence], device=device)
    token = torch.zeros(values.shape, dtype=torch.int64, device=device)
    given = {name: value for name, value in others.items() if name != "device"}
    return select(values, token, rule, limit, **given)[0].nonzero().flatten().tolist()


def test_ties_nan_and_infinities(device: torch.device) -> None:
    def run(rule: str, limit: float, confidence: list[float]) -> list[int]:
        return chosen(rule, limit, confidence, device=device)

    assert run("top", 2, [0.5, 0.5, 0.5]) == [0, 1]
    assert run("top", 2, [0.0, -0.0, 0.5]) == [0, 2]
    assert run("top", 1, [NAN, -INF, NAN]) == [1]
    assert run("top", 1, [NAN, NAN]) == [0]
    assert run("threshold", 0.5, [NAN, 0.4, INF]) == [2]
    assert run("threshold", 0.5, [NAN, 0.4, 0.4]) == [1]
    assert run("factor", 1.0, [NAN, NAN]) == [0]
    assert run("factor", INF, [0.1, 0.2, NAN]) == [0, 1]


def test_threshold_is_compared_as_float32(device: torch.device) -> None:
    exactly = torch.tensor(0.9).item()  # below the double 0.9 is not what is asked
    below = torch.tensor(0.9).nextafter(torch.tensor(0.0)).item()
    assert chosen("threshold", 0.9, [exactly, below, 1.0], device=device) == [0, 2]


def test_factor_worked_by_hand(device: torch.device) -> None:
    # n = 2: 3 * 0.25 = 0.75 <= 1; n = 3: 4 * 0.25 = 1 <= 1; n = 4: 5 * 0.25 > 1
    assert chosen("factor", 1.0, [0.75, 0.75, 0.75, 0.75], device=device) == [0, 1, 2]
    assert chosen("factor", 1.0, [0.0, 0.1], device=device) == [1]


def test_entropy_worked_by_hand(device: torch.device) -> None:
    def run(entropy: list[float], gamma: float) -> list[int]:
        values = torch.tensor([entropy], device=device)
        return chosen("entropy", gamma, [0.5] * len(entropy), entropy=values, device=device)

    assert run([0.5, 0.0625, 0.03125, 0.0625], 0.09375) == [1, 2, 3]
    assert run([0.5, 0.0625, 0.03125, 0.0625], 0.03125) == [1, 2]
    assert run([3.0, 2.0], 0.0) == [1]
    assert run([0.0, 0.0, 7.0], 0.0) == [0, 1, 2]
    assert run([NAN, 1.0, NAN], 5.0) == [1]
    assert run([NAN, NAN], 5.0) == [0]
    assert run([INF, INF], 5.0) == [0]


def test_falls_back_beyond_the_eligible(device: torch.device) -> None:
    confidence = torch.tensor([[0.3, 0.8, 0.9, 0.95]], device=device)
    token = torch.tensor([[1, 1, 1, -1]], device=device)
    nobody = torch.zeros(1, 4, dtype=torch.bool, device=device)
    for rule, limit in RULES:
        selected = select(confidence, token, rule, limit, entropy=1 - confidence, eligible=nobody)
        assert selected[0].nonzero().flatten().tolist() == [2], rule
    assert not select(confidence, -torch.ones_like(token), "top", 3).any()


def test_random_depends_on_position_seed_and_step_only(rng: torch.Generator) -> None:
    n, count = 64, 9
    confidence = torch.rand(1, n, generator=rng, device=rng.device)
    token = torch.zeros(1, n, dtype=torch.int64, device=rng.device)
    positions = torch.randperm(500, generator=rng, device=rng.device)[:n].int().unsqueeze(0)

    def picked(seed: int | Tensor, step: int | Tensor, order: Tensor) -> set[int]:
        places = positions[:, order]
        selected = select(
            confidence, token, "random", count, positions=places, seed=seed, step=step
        )
        return set(places[selected].tolist())

    straight = torch.arange(n, device=rng.device)
    first = picked(11, 4, straight)
    assert len(first) == count
    assert first == picked(11, 4, straight.flip(0)), "slots must not matter"
    assert first == picked(torch.tensor([11], device=rng.device), 4, straight)
    assert first == picked(11, torch.tensor(4, device=rng.device), straight)
    assert first != picked(11, 5, straight)
    assert first != picked(12, 4, straight)
    assert first != picked(11 + (1 << 40), 4, straight), "all 64 bits of the seed count"


def test_random_is_uniform(device: torch.device) -> None:
    n, rows = 8, 4000
    confidence = torch.zeros(rows, n, device=device)
    token = torch.zeros(rows, n, dtype=torch.int64, device=device)
    counts = select(confidence, token, "random", 2, seed=3).sum(0)
    expected, deviation = rows / 4, (rows * 0.25 * 0.75) ** 0.5
    assert ((counts - expected).abs() < 5 * deviation).all()


def test_philox_known_answers() -> None:
    """The vectors published with Random123."""
    assert philox((0, 0, 0, 0), 0) == (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)
    ones = 0xFFFFFFFF
    assert philox((ones,) * 4, 2**64 - 1) == (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rule": "best"}, "rule must be one of 'top', 'random', 'threshold', 'factor', 'entropy'"),
        ({"limit": 0}, "limit must be a whole number >= 1 for rules 'top' and 'random', got 0"),
        ({"limit": 1.5}, "limit must be a whole number .*, got 1.5"),
        ({"rule": "threshold", "limit": NAN}, "limit must be a number, got nan"),
        ({"rule": "factor", "limit": -1}, "limit must be >= 0 for rules 'factor' and .*, got -1"),
        ({"rule": "entropy"}, "entropy must be given for rule 'entropy', got nothing"),
        ({"token": torch.zeros(1, 4)}, r"token must be int64, got float32 \[1, 4\]"),
        ({"entropy": torch.zeros(1, 5)}, r"entropy must be \[B, N\] = \[1, 4\], got \[1, 5\]"),
        ({"eligible": torch.zeros(1, 4)}, "eligible must be bool, got float32"),
        ({"positions": torch.zeros(1, 4)}, "positions must be int32, got float32"),
        ({"seed": torch.zeros(2).long()}, r"seed must be \[B\] = \[1\], got \[2\]"),
        ({"confidence": torch.zeros(4)}, r"confidence must be \[B, N\], got float32 \[4\]"),
    ],
)
def test_says_what_is_wrong(change: dict[str, object], message: str) -> None:
    good = {
        "confidence": torch.zeros(1, 4),
        "token": torch.zeros(1, 4, dtype=torch.int64),
        "rule": "top",
        "limit": 1,
    }
    with pytest.raises(ValueError, match=message):
        select(**(good | change))


def test_refuses_too_many_nodes(device: torch.device) -> None:
    confidence = torch.zeros(1, 8193, device=device)
    with pytest.raises(NotImplementedError, match="nodes N can be at most 8192, got 8193"):
        select(confidence, confidence.long(), "top", 1)
    most = confidence[:, :8192].contiguous()
    assert select(most, most.long(), "factor", 0.0)[0].nonzero().tolist() == [[0]]


def test_numpy_gives_the_same(rng: torch.Generator) -> None:
    nodes = {name: value.cpu() for name, value in random_nodes(2, 50, rng).items()}
    flat = {name: value.numpy() for name, value in nodes.items()}
    for rule, limit in RULES:
        ours = arrays.select(rule=rule, limit=limit, seed=7, step=2, **flat)
        assert np.array_equal(ours, select(rule=rule, limit=limit, seed=7, step=2, **nodes).numpy())


def test_registration(rng: torch.Generator) -> None:
    nodes = random_nodes(2, 40, rng)
    op = torch.ops.unmask.select.default
    first = (nodes.pop("confidence"), nodes.pop("token"))
    seeds, step = torch.tensor([1, 2], device=rng.device), torch.tensor([3], device=rng.device)
    for rule, limit in [("random", 3.0), ("entropy", 0.5)]:
        torch.library.opcheck(op, first, {"rule": rule, "limit": limit, **nodes})
    seeded = {"rule": "random", "limit": 2.0, "request_seeds": seeds, "device_step": step}
    torch.library.opcheck(op, first, seeded)
    compiled = torch.compile(select, fullgraph=True)
    for tensors in [{}, {"seed": seeds, "step": step}]:
        assert torch.equal(
            compiled(*first, "random", 3, **tensors), select(*first, "random", 3, **tensors)
        )
