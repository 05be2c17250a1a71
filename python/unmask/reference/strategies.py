"""What each strategy reveals: the published rules, one row at a time, in Python's float64."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from unmask.reference import decoders
from unmask.strategies import (
    DAPD,
    DAWN,
    KLASS,
    CumulativeDependency,
    Entropy,
    EntropyBound,
    Factor,
    Hierarchy,
    LocalLeap,
    Margin,
    PrefixEntropy,
    StepInputs,
    Strategy,
    Threshold,
    TopConfidence,
)


def strategies(strategy: Strategy, passes: Sequence[StepInputs]) -> Tensor:
    """The passes so far, this one last -> bool [B, N]: what the strategy reveals now."""
    inputs = passes[-1]
    selected = torch.zeros_like(inputs.token, dtype=torch.bool)
    for b in range(len(selected)):
        usable = [n for n, token in enumerate(inputs.token[b].tolist()) if token >= 0]
        if usable:
            confidence = inputs.confidence[b].tolist()
            most_confident = max(usable, key=lambda n: (confidence[n], -n))
            revealed = _revealed(strategy, passes, b, usable) or [most_confident]
            selected[b, revealed] = True
    return selected


def _revealed(
    strategy: Strategy, passes: Sequence[StepInputs], b: int, usable: list[int]
) -> list[int]:
    inputs = passes[-1]
    confidence = inputs.confidence[b].tolist()
    descending = sorted(usable, key=lambda n: (-confidence[n], n))
    match strategy:
        case TopConfidence():
            return descending[: strategy.tokens_per_step]
        case Threshold(threshold):
            return [n for n in usable if confidence[n] >= threshold]
        case Factor(factor):
            return _factor(descending, confidence, factor)
        case EntropyBound(gamma):
            return _entropy_bound(usable, inputs.entropy[b].tolist(), gamma)
        case KLASS():
            return _klass(strategy, passes, b, usable)
        case DAPD():
            return _dapd(strategy, inputs, b, usable)
        case LocalLeap():
            return decoders.local_leap(strategy, inputs, b, usable)
        case Margin() | Entropy():
            return decoders.scored(strategy, inputs, b, usable, strategy.tokens_per_step)
        case Hierarchy():
            return decoders.hierarchy(strategy, inputs, b, usable)
        case PrefixEntropy():
            return decoders.prefix_entropy(strategy, inputs, b, usable)
        case CumulativeDependency():
            return decoders.cumulative_dependency(strategy, inputs, b, usable)
        case DAWN():
            end = inputs.tokens.shape[1] if inputs.stop is None else int(inputs.stop[b])
            return decoders.dawn(strategy, list(passes), b, usable, end)
    raise ValueError(f"no reference for {strategy!r}")


def _factor(descending: list[int], confidence: list[float], factor: float) -> list[int]:
    """The most confident n while (n + 1) * (1 - c_n) <= factor; the first in any case."""
    count = 1
    for n in range(2, len(descending) + 1):
        if (n + 1) * (1 - confidence[descending[n - 1]]) > factor:
            break
        count = n
    return descending[:count]


def _entropy_bound(usable: list[int], entropy: list[float], gamma: float) -> list[int]:
    """The longest prefix by ascending entropy with sum - max <= gamma."""
    ascending = sorted(usable, key=lambda n: (entropy[n], n))
    prefixes = [ascending[:n] for n in range(1, len(ascending) + 1)]
    values = [[entropy[n] for n in prefix] for prefix in prefixes]
    return [p for p, v in zip(prefixes, values, strict=True) if sum(v) - max(v) <= gamma][-1]


def _klass(strategy: KLASS, passes: Sequence[StepInputs], b: int, usable: list[int]) -> list[int]:
    """Confidence above the bar, and a divergence below its bar in each of the last passes."""
    inputs = passes[-1]

    def distribution(step: StepInputs, position: int) -> Tensor:
        row = max(position - step.row_shift - step.row_offset, 0)
        return torch.log_softmax(step.logits[b, row].double() * step.logit_scale, -1)

    def stable(position: int) -> bool:
        if len(passes) <= strategy.history:
            return False
        for back in range(1, strategy.history + 1):
            now, before = passes[-back], passes[-back - 1]
            if position not in now.positions[b].tolist():
                return False
            p, q = distribution(now, position), distribution(before, position)
            if float((p.exp() * (p - q)).sum()) >= strategy.kl:
                return False
        return True

    return [
        n
        for n in usable
        if inputs.confidence[b, n] > strategy.confidence and stable(int(inputs.positions[b, n]))
    ]


def _dapd(strategy: DAPD, inputs: StepInputs, b: int, usable: list[int]) -> list[int]:
    """The scan over the dependency graph, as the paper's own code does it."""
    assert inputs.scores is not None
    nodes = [n for n, position in enumerate(inputs.positions[b].tolist()) if position >= 0]
    attention = inputs.scores[b].double().tolist()
    confidence = inputs.confidence[b].tolist()
    bar = math.inf if strategy.precommit is None else strategy.precommit
    if not strategy.precommit_in_graph:
        nodes = [n for n in nodes if not confidence[n] >= bar]
    if strategy.normalize:
        for i in nodes:
            total = max(sum(attention[i][j] for j in nodes if j != i), 1e-9)
            attention[i] = [value / total for value in attention[i]]

    def score(i: int, j: int) -> float:
        return 0.0 if i == j else (attention[i][j] + attention[j][i]) / 2

    degree = {i: sum(score(i, j) for j in nodes) for i in nodes}
    unit = {
        "rowmax": {i: max(max(score(i, j) for j in nodes), 1e-8) for i in nodes},
        "rowsum": degree,
        "raw": dict.fromkeys(nodes, 1.0),
    }[strategy.edge]
    masks = int(inputs.gen_length[b])
    progress = 1 - int(inputs.remaining[b]) / masks if masks else 0.0
    tau = strategy.tau_min + (strategy.tau_max - strategy.tau_min) * progress
    key = {
        "degree*confidence": {i: degree[i] * confidence[i] for i in nodes},
        "degree": degree,
        "confidence": {i: confidence[i] for i in nodes},
    }[strategy.order]

    certain = [n for n in usable if confidence[n] >= bar]
    independent: list[int] = []
    for i in sorted(set(usable) - set(certain), key=lambda n: (-key[n], n)):
        if all(score(i, taken) <= tau * unit[i] for taken in independent):
            independent.append(i)
    revealed = independent + certain
    if strategy.late is None or progress < strategy.late_progress:
        return revealed
    confident = [n for n in usable if confidence[n] >= strategy.late_threshold]
    return confident if strategy.late == "switch" else revealed + confident
