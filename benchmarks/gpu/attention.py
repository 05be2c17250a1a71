"""attention_scores over the layers that a decoder listens to."""

from functools import cache
from typing import Any, NamedTuple

import torch
from torch import Tensor
from unmask import attention_scores, attention_scores_from_probs, reference

from gpu import bench as b
from gpu import peers_torch, timing
from gpu.bench import Bench, Contestant
from gpu.cases import Scores

CHECKED_NODES = 48
LONGEST_EAGER = 4096


class Layer(NamedTuple):
    query: Tensor  # [1, H, L, D]; or the probabilities [1, H, L, L]
    key: Tensor
    lse: Tensor  # [1, H, L]


def run(bench: Bench, case: Scores) -> dict[str, Any]:
    length = torch.randperm(case.length, generator=bench.generator(), device=bench.device)
    at = length[: case.nodes].sort().values
    positions = at.int().unsqueeze(0)
    touched = max(1, case.bytes - 4 * case.nodes**2)
    # Not more than fits: a set holds all rows, and a call reads the masked ones.
    sets = [
        [layer(bench, case, seed=100 * number + i) for i in range(case.layers)]
        for number in range(timing.input_sets(touched, bench.cold_bytes, most=8))
    ]

    def ours(layers: list[Layer]) -> Tensor:
        out = torch.zeros(1, case.nodes, case.nodes, device=bench.device)
        for heard in layers:
            one(case, heard, positions, out)
        return out

    with b.poisoned_outputs(bench):
        found = ours(sets[0])
    some = torch.linspace(0, case.nodes - 1, min(CHECKED_NODES, case.nodes), device=bench.device)
    some = some.round().long().unique()
    exact = sum(expected(case, heard, positions[:, some]) for heard in sets[0])
    assert isinstance(exact, Tensor)
    error = b.require_close("scores", found[:, some][:, :, some], exact)

    def agrees(name: str, answer: Any) -> None:
        """Peers that multiply in bfloat16 round their products: 2^-9 of some 5."""
        b.require_close(name, answer, found[0], relative=0.05)

    row = b.race(
        bench,
        case,
        ours,
        peers(bench, case, at),
        sets,
        bytes_per_set=touched,
        agrees=agrees,
        error=error,
    )
    return row | case._asdict() | {"exponentials": case.exponentials}


def layer(bench: Bench, case: Scores, seed: int) -> Layer:
    """What attention leaves behind; sizes as models have them, after RoPE."""

    def rows(heads: int, seed: int) -> Tensor:
        shape = (1, heads, case.length, case.head_dim)
        return bench.randn(*shape, dtype=torch.bfloat16, seed=seed)

    query, key = rows(case.heads, 2 * seed), rows(case.kv_heads, 2 * seed + 1)
    many = key.repeat_interleave(case.heads // case.kv_heads, 1)
    lse = torch.empty(1, case.heads, case.length, device=bench.device)
    probs = []
    for head in range(case.heads):  # one at a time: float32 [L, L] each
        product = query[0, head].float() @ many[0, head].float().T * case.head_dim**-0.5
        lse[0, head] = torch.logsumexp(product, -1)
        if case.given == "probs":
            probs.append(torch.softmax(product, -1).bfloat16())
    if case.given == "probs":
        return Layer(torch.stack(probs).unsqueeze(0), key, lse)
    return Layer(query, key, lse)


def one(case: Scores, heard: Layer, positions: Tensor, out: Tensor) -> None:
    weight = 1 / case.layers
    if case.given == "probs":
        attention_scores_from_probs(heard.query, positions, out=out, weight=weight)
    else:
        lse = heard.lse if case.given else None
        attention_scores(heard.query, heard.key, positions, lse=lse, out=out, weight=weight)


def expected(case: Scores, heard: Layer, positions: Tensor) -> Tensor:
    """In float64, for some of the nodes."""
    if case.given == "probs":
        exact = reference.attention_scores_from_probs(heard.query, positions)
        return exact.double() / case.layers
    at = positions[0].long()
    key = heard.key.repeat_interleave(case.heads // case.kv_heads, 1)[0].double()
    product = heard.query[0, :, at].double() @ key.mT * case.head_dim**-0.5
    if case.given == "lse":
        probs = (product - heard.lse[0, :, at].double().unsqueeze(-1)).exp()
    else:
        probs = torch.softmax(product, -1)
    return probs[:, :, at].mean(0, keepdim=True) / case.layers


def peers(bench: Bench, case: Scores, at: Tensor) -> dict[str, Contestant]:
    def over_layers(function: Any) -> Contestant:
        def call(layers: list[Layer]) -> Tensor:
            total = torch.zeros(case.nodes, case.nodes, device=bench.device)
            for heard in layers:
                total += function(heard) / case.layers
            return total

        return Contestant(call)

    found = {}
    if case.given == "probs":
        return {"torch": over_layers(lambda x: peers_torch.scores_from_probs(x.query[0], at))}
    if bench.triton and case.given == "lse":
        found["Triton"] = Contestant(lambda layers: triton_pairs(bench, case, layers, at))
    if case.given == "lse":
        masked = peers_torch.scores_given_lse if bench.tiny else compiled()
        found["torch.compile"] = over_layers(lambda x: masked(x.query[0], x.key[0], x.lse[0], at))
    if case.length <= LONGEST_EAGER:
        eager = peers_torch.eager_attention
        found["eager attention"] = over_layers(lambda x: eager(x.query[0], x.key[0], at))
    return found


@cache
def compiled() -> Any:
    return peers_torch.compiled(peers_torch.scores_given_lse)


def triton_pairs(bench: Bench, case: Scores, layers: list[Layer], at: Tensor) -> Tensor:
    out = torch.zeros(case.nodes, case.nodes, device=bench.device)
    for x in layers:
        bench.triton.pair_scores(x.query[0], x.key[0], x.lse[0], at, out, 1 / case.layers)
    return out
