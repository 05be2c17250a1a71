"""Do the CPU and the GPU reveal the same tokens in the same steps?

A case is a seeded decoding of a few sequences: every step gets new random logits and scores, equal
on both sides, until no mask is left. Two machines may differ in the last digits of a probability
(1e-5 relative is allowed), so a case counts only when none of its decisions is closer than that: no
two confidences, priorities or entropies that an order depends on, no value and its threshold. What
is left is compared token by token after every step.
"""

from collections.abc import Iterator
from itertools import count
from typing import Any, NamedTuple

import torch
from torch import Tensor
from unmask import (
    dapd_step_,
    dependency_graph,
    entropy_bound_step_,
    factor_step_,
    masked_positions,
    threshold_step_,
    top_confidence_step_,
    topk_confidence,
)

from gpu.bench import Bench

CLEAR = 1e-5
CASES = 1000
MASK, BATCH, LENGTH, VOCAB = 0, 2, 40, 200
MOST_STEPS = 64

RULES: list[tuple[str, Any, dict[str, Any]]] = [
    ("staged", dapd_step_, {"tau_max": 0.15, "late": "union"}),
    ("direct", dapd_step_, {"tau_max": 0.05, "precommit": 0.998046875}),
    ("confident first", dapd_step_, {"tau_max": 0.05, "precommit": 0.9, "edge": "rowsum"}),
    ("threshold", threshold_step_, {"threshold": 0.9}),
    ("factor", factor_step_, {"factor": 1.0}),
    ("entropy bound", entropy_bound_step_, {"gamma": 0.1}),
    ("top confidence", top_confidence_step_, {"tokens_per_step": 4}),
]


class Pass(NamedTuple):
    """What a model would have said at one step."""

    logits: Tensor
    scores: Tensor


class Passes:
    """Every step's pass, made once on the CPU, so that both sides get the same numbers."""

    def __init__(self, seed: int) -> None:
        self.seed, self.made = seed, list[Pass]()
        self.rng = torch.Generator().manual_seed(seed)

    def __getitem__(self, step: int) -> Pass:
        while len(self.made) <= step:
            logits = torch.randn(BATCH, LENGTH, VOCAB, generator=self.rng) * 3
            boost = 8 * torch.rand(BATCH, LENGTH, generator=self.rng)
            logits[..., 1 + self.seed % (VOCAB - 1)] += boost
            scores = torch.randn(BATCH, LENGTH, LENGTH, generator=self.rng).mul(2).softmax(-1)
            self.made.append(Pass(logits.bfloat16() if self.seed % 2 else logits, scores))
        return self.made[step]


def start(seed: int) -> Tensor:
    rng = torch.Generator().manual_seed(seed + 1_000_000)
    given = torch.rand(BATCH, LENGTH, generator=rng) < 0.3
    return torch.where(given, torch.randint(1, VOCAB, (BATCH, LENGTH), generator=rng), MASK)


def drawing(seed: int) -> dict[str, Any]:
    """Every third case draws its tokens."""
    return {"temperature": 0.8, "seed": seed} if seed % 3 == 0 else {}


def decode(rule: Any, options: dict[str, Any], passes: Passes, device: torch.device) -> Tensor:
    """[steps, B, L]: the tokens after every step."""
    tokens = start(passes.seed).to(device)
    remaining = (tokens == MASK).sum(1).int()
    shared = {"mask_id": MASK, "suppress_tokens": [MASK], **options, **drawing(passes.seed)}
    trace = []
    for step in range(MOST_STEPS):
        logits, scores = (tensor.to(device) for tensor in passes[step])
        if rule is dapd_step_:
            dapd_step_(tokens, logits, scores, gen_length=remaining, step=step, **shared)
        else:
            rule(tokens, logits, step=step, **shared)
        trace.append(tokens.clone())
        if not bool((tokens == MASK).any()):
            break
    return torch.stack(trace).cpu()


def least_margin(rule: Any, options: dict[str, Any], passes: Passes, trace: Tensor) -> float:
    """How close the closest decision of this trace was, relative to its size."""
    before = start(passes.seed)
    total = (before == MASK).sum(1)
    drawn = drawing(passes.seed)
    margins = [1.0]
    for step, after in enumerate(trace):
        said = passes[step]
        positions = masked_positions(before, MASK, capacity=LENGTH)
        best = topk_confidence(said.logits, positions, step=step, suppress_tokens=[MASK], **drawn)
        nodes = (positions >= 0).sum(1).tolist()
        tau = 0.01 + (options.get("tau_max", 0.0) - 0.01) * (1 - torch.tensor(nodes) / total)
        graph = dependency_graph(
            said.scores, positions, tau.float(), edge=options.get("edge", "rowmax")
        )
        for row, here in enumerate(nodes):
            if here:
                confidence = best.confidence[row, :here].double()
                degree = graph.degree[row, :here].double()
                entropy = best.entropy[row, :here].double()
                margins += _margins(rule, options, confidence, degree, entropy)
        before = after
    return min(margins)


def _margins(
    rule: Any, options: dict[str, Any], confidence: Tensor, degree: Tensor, entropy: Tensor
) -> list[float]:
    """Of one row in one step."""
    found = [_gap(confidence)]  # somebody is always the most confident
    if rule is dapd_step_:
        found.append(_gap(confidence * degree))
        found += [_off(confidence, options.get("precommit", 2.0)), _off(confidence, 0.9)]
    elif rule is threshold_step_:
        found.append(_off(confidence, options["threshold"]))
    elif rule is factor_step_:
        descending = confidence.sort(descending=True).values
        rank = torch.arange(2, len(descending) + 2)
        # 1 - c loses the digits that c carries: judged by the error of c.
        found.append(float(((rank * (1 - descending) - options["factor"]) / rank).abs().min()))
    elif rule is entropy_bound_step_:
        ascending = entropy.sort().values
        before = ascending.cumsum(0) - ascending  # all but the largest
        found += [_gap(entropy), _off(before[1:], options["gamma"])]
    return found


def _gap(values: Tensor) -> float:
    """Between neighbours in order, relative."""
    ordered = values.sort().values
    if len(ordered) < 2:
        return 1.0
    return float((ordered.diff() / ordered[1:].abs().clamp(min=1e-30)).min())


def _off(values: Tensor, limit: float) -> float:
    return float((values - limit).abs().min() / limit) if len(values) else 1.0


def run(bench: Bench, cases: int = CASES) -> Iterator[dict[str, Any]]:
    """The tally, growing: a part that runs out of time has still compared what it says."""
    torch.set_num_threads(1)  # tensors of a few hundred numbers
    tally = {"compared": 0, "equal": 0, "unclear": 0, "asked_for": cases, "first_different": None}
    for seed in count():
        name, rule, options = RULES[seed % len(RULES)]
        passes = Passes(seed)
        here = decode(rule, options, passes, torch.device("cpu"))
        if least_margin(rule, options, passes, here) <= CLEAR:
            tally["unclear"] += 1
            continue
        same = torch.equal(decode(rule, options, passes, bench.device), here)
        tally["compared"] += 1
        tally["equal"] += same
        if not same and tally["first_different"] is None:
            tally["first_different"] = f"{name}, seed {seed}"
        if tally["compared"] % 50 == 0 or tally["compared"] == cases:
            yield dict(tally)
        if tally["compared"] >= cases:
            return
