"""More published rules, one row at a time, in Python's float64. Each gets the row's nodes that have
a token, and answers which of them are revealed; nobody means the most confident one."""

import math

import torch

from unmask.strategies import (
    DAWN,
    CumulativeDependency,
    Entropy,
    Hierarchy,
    LocalLeap,
    Margin,
    PrefixEntropy,
    StepInputs,
)


def local_leap(strategy: LocalLeap, inputs: StepInputs, b: int, usable: list[int]) -> list[int]:
    """Confident, or a little less so near somebody confident."""
    confidence, position = inputs.confidence[b].tolist(), inputs.positions[b].tolist()
    anchors = [position[n] for n in usable if confidence[n] >= strategy.threshold]

    def bar(n: int) -> float:
        near = any(abs(position[n] - anchor) <= strategy.window for anchor in anchors)
        return min(strategy.relaxed, strategy.threshold) if near else strategy.threshold

    return [n for n in usable if confidence[n] >= bar(n)]


def scored(
    strategy: Margin | Entropy, inputs: StepInputs, b: int, usable: list[int], count: int
) -> list[int]:
    """So many of the highest score."""
    if isinstance(strategy, Margin):
        score = (inputs.probs[b, :, 0] - inputs.probs[b, :, 1]).tolist()
    else:
        score = (-inputs.entropy[b]).tolist()
    return sorted(usable, key=lambda n: (-score[n], n))[:count]


def hierarchy(strategy: Hierarchy, inputs: StepInputs, b: int, usable: list[int]) -> list[int]:
    """The best of each run of adjacent masks above the low bar, and all above the high one."""
    confidence, position = inputs.confidence[b].tolist(), inputs.positions[b].tolist()
    nodes = [n for n, p in enumerate(position) if p >= 0]
    runs: list[list[int]] = []
    for n in nodes:
        if runs and position[n] == position[runs[-1][-1]] + 1:
            runs[-1].append(n)
        else:
            runs.append([n])
    revealed = {n for n in usable if confidence[n] > strategy.threshold}
    for run in runs:
        best = max((n for n in run if n in usable), key=lambda n: (confidence[n], -n), default=None)
        if best is not None and confidence[best] > strategy.low:
            revealed.add(best)
    return sorted(revealed)


def prefix_entropy(
    strategy: PrefixEntropy, inputs: StepInputs, b: int, usable: list[int]
) -> list[int]:
    """From left to right, while what stays masked before has little entropy."""
    confidence, entropy = inputs.confidence[b].tolist(), inputs.entropy[b].tolist()
    revealed, before = [], 0.0
    for n, position in enumerate(inputs.positions[b].tolist()):
        if position < 0:
            continue
        if n in usable and confidence[n] >= strategy.threshold and before <= strategy.budget:
            revealed.append(n)
        else:
            before += entropy[n]
    first = usable[: strategy.window]
    return revealed or [max(first, key=lambda n: (confidence[n], -n))]


def cumulative_dependency(
    strategy: CumulativeDependency, inputs: StepInputs, b: int, usable: list[int]
) -> list[int]:
    """By descending confidence, while the dependencies on those taken stay within the budget."""
    assert inputs.scores is not None
    nodes = [n for n, p in enumerate(inputs.positions[b].tolist()) if p >= 0]
    attention = inputs.scores[b].double().tolist()
    confidence = inputs.confidence[b].tolist()

    def both(i: int, j: int) -> float:
        return 0.0 if i == j else (attention[i][j] + attention[j][i]) / 2

    unit = {
        "rowmax": {i: max(max(both(i, j) for j in nodes), 1e-8) for i in nodes},
        "rowsum": {i: max(sum(both(i, j) for j in nodes), 1e-8) for i in nodes},
        "raw": dict.fromkeys(nodes, 1.0),
    }[strategy.edge]
    taken: list[int] = []
    for i in sorted(usable, key=lambda n: (-confidence[n], n)):
        if math.fsum(both(i, j) / unit[i] for j in taken) <= strategy.budget:
            taken.append(i)
    return taken


def dawn(
    strategy: DAWN, passes: list[StepInputs], b: int, usable: list[int], end: int
) -> list[int]:
    """Algorithm 1 of the paper; `end` is one past the active block."""
    inputs = passes[-1]
    assert inputs.scores is not None
    length = inputs.tokens.shape[1]
    position, confidence = inputs.positions[b].tolist(), inputs.confidence[b].tolist()
    attention = inputs.scores[b].double()
    text = [p for p in range(length) if float(attention[p].sum()) > 0]
    mean = (attention.sum(0) / len(text)).tolist()
    sinks = {j for j in range(length) if mean[j] > strategy.tau_sink}

    def edge(j: int, i: int) -> bool:
        """From key j to query i, both positions."""
        return i != j and j not in sinks and float(attention[i, j]) >= strategy.tau_edge

    def sureness(p: int) -> float:
        if strategy.anchors == "current":
            row = max(p - inputs.row_shift - inputs.row_offset, 0)
            return float(torch.softmax(inputs.logits[b, row].double(), -1).max())
        for seen in reversed(passes):
            if p in seen.positions[b].tolist():
                return float(seen.confidence[b, seen.positions[b].tolist().index(p)])
        return 1.0

    anchors = [
        p for p in text if p not in position and p < end and sureness(p) >= strategy.tau_high
    ]
    confident = [n for n in usable if confidence[n] >= strategy.tau_high]
    induced = [
        n
        for n in usable
        if confidence[n] >= strategy.tau_induced and any(edge(a, position[n]) for a in anchors)
    ]

    def conflict(n: int, m: int) -> bool:
        return edge(position[n], position[m]) or edge(position[m], position[n])

    settled = set(confident) | set(induced)
    if strategy.compat:
        both = set(confident) & set(induced)
        spared = {n for n in usable if any(edge(position[m], position[n]) for m in both)}
    else:
        spared = {n for n in usable if any(conflict(n, m) for m in settled)}
    apart: list[int] = []
    for n in sorted(set(usable) - settled - spared, key=lambda n: (-confidence[n], n)):
        if confidence[n] >= strategy.tau_low and not any(conflict(n, m) for m in apart):
            apart.append(n)
    return sorted(settled | set(apart))
