"""Do attention scores tell dependent pairs from independent ones, and by which threshold?"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import Literal

import torch
from torch import Tensor

from unmask.calibration.influence import Measured
from unmask.calibration.settings import Settings

Edge = Literal["rowmax", "rowsum", "raw"]
LAST_SHARE = 0.3  # of the layers, where the paper listens
FEW = (2, 4, 8)  # layers at most, when the best ones are taken together
AS_GOOD = 0.005  # AUCs this close count as equal; the wider gap decides
LEAST = 1e-12  # in place of a zero, where scores are compared by their ratio
QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
HALF = 30  # entries that either half of a decoding needs for a threshold of its own


@dataclass(frozen=True)
class Pairs:
    """All measured pairs of all states, in both directions.

    Attributes:
        states: those with at least two measured positions.
        dependent, independent: for each of these states, bool [s, s]; what is neither is grey.
    """

    states: Sequence[Measured]
    dependent: Sequence[Tensor]
    independent: Sequence[Tensor]

    @cached_property
    def counts(self) -> tuple[int, int]:
        """How many unordered pairs are dependent, and independent."""
        return (
            sum(int(each.sum()) for each in self.dependent) // 2,
            sum(int(each.sum()) for each in self.independent) // 2,
        )

    @property
    def layers(self) -> int:
        """How many the model has."""
        return len(self.states[0].rows)


def label(states: Iterable[Measured], settings: Settings) -> Pairs:
    """Call pairs dependent or independent, by the stronger of both directions.

    A pair that depends on each other once more is revealed counts as dependent from the beginning:
    of three positions, two may be independent as long as the third is not known, and yet no two
    may be revealed with it. So influence is carried back to the earlier states of a prompt, from
    the state in which all others are known on. Independent is what was measured there, too.
    """
    some = [state for state in states if len(state.positions) > 1]
    some.sort(key=lambda state: (state.prompt, -state.progress))  # later states first
    dependent, independent = [], []
    strongest: dict[tuple[int, int, int], float] = {}
    for state in some:
        rest = state.rest.maximum(state.rest.mT)
        ever = state.influence.maximum(state.influence.mT).maximum(rest.nan_to_num(0.0))
        where = state.positions.tolist()
        for (a, i), (b, j) in product(enumerate(where), repeat=2):
            pair = (state.prompt, i, j)
            strongest[pair] = max(strongest.get(pair, 0.0), float(ever[a, b]))
            ever[a, b] = strongest[pair]
        different = ~torch.eye(len(where), dtype=torch.bool)
        dependent.append(ever >= settings.dependent)
        independent.append((ever <= settings.independent) & ~rest.isnan() & different)
    return Pairs(some, dependent, independent)


def scores(state: Measured, layers: Sequence[int], edge: Edge, normalize: bool) -> Tensor:
    """What DAPD compares with tau: f32 [s, s], candidate i in the row, node j once chosen.

    The formulas are those of :func:`unmask.dependency_graph`; scores are relative to all nodes.
    """
    at = torch.tensor(layers)
    rows, columns = state.rows[at].mean(0), state.columns[at].mean(0)
    if normalize:
        total = state.sums[at].mean(0).clamp(min=1e-9).unsqueeze(-1)
        rows, columns = rows / total[state.chosen], columns / total
    d = (rows + columns.mT) / 2
    if edge == "rowmax":
        d = d / d.amax(-1, keepdim=True).clamp(min=1e-8)
    elif edge == "rowsum":
        d = d / d.sum(-1, keepdim=True).clamp(min=LEAST)
    return d[:, state.chosen]


@dataclass(frozen=True)
class Rule:
    """Which layers, and which edge rule."""

    name: str  # of the layers: "last 30 %", "best", ...
    layers: tuple[int, ...]
    edge: Edge
    normalize: bool

    @property
    def edge_name(self) -> str:
        """For tables."""
        return f"{self.edge}, normalized" if self.normalize else self.edge


@dataclass(frozen=True)
class Separation:
    """How well one rule's scores tell dependent entries from independent ones.

    Attributes:
        rule: layers and edge rule.
        dependent, independent: the scores, f32 [entries], of all states together.
        progress: f32 [dependent entries], how far the decoding was.
    """

    rule: Rule
    dependent: Tensor
    independent: Tensor
    progress: Tensor

    @cached_property
    def auc(self) -> float:
        """The chance that a dependent entry scores higher than an independent one; ties half."""
        below = self.independent.sort().values
        less = torch.searchsorted(below, self.dependent)
        up_to = torch.searchsorted(below, self.dependent, right=True)
        return float((less + up_to).double().mean() / 2 / len(below))

    def gap(self, keep: float) -> float:
        """log of (what ``keep`` of the dependent exceed / what as many independent do not)."""
        inside, across = quantile(self.dependent, 1 - keep), quantile(self.independent, keep)
        return math.log(max(inside, LEAST) / max(across, LEAST))

    def taus(self, settings: Settings) -> tuple[float, float]:
        """tau_min and tau_max: the largest that keep enough edges, times the margin.

        That of the first half of a decoding and that of the second, where each has entries enough;
        else the same for both.
        """
        late = self.progress >= 0.5
        halves = (self.dependent[~late], self.dependent[late])
        if min(map(len, halves)) < HALF:
            halves = (self.dependent, self.dependent)
        first, second = (settings.margin * quantile(half, 1 - settings.keep) for half in halves)
        return first, second

    def false_edges(self, tau: float) -> float:
        """The share of independent entries that exceed tau: what is revealed later than need be."""
        return float((self.independent > tau).double().mean())


def quantile(values: Tensor, share: float) -> float:
    """The value below which that share of them lies, one of them: the lower where it is between."""
    return float(values.sort().values[int(share * (len(values) - 1))])


def separate(pairs: Pairs, rule: Rule) -> Separation:
    """Collect the scores of a rule."""
    inside, across, progress = [], [], []
    for state, yes, no in zip(pairs.states, pairs.dependent, pairs.independent, strict=True):
        score = scores(state, rule.layers, rule.edge, rule.normalize)
        inside.append(score[yes])
        across.append(score[no])
        progress.append(torch.full((int(yes.sum()),), state.progress))
    return Separation(rule, torch.cat(inside), torch.cat(across), torch.cat(progress))


def every_rule(pairs: Pairs) -> tuple[list[Separation], list[Separation]]:
    """All edge rules, with single layers and with the choices of layers that are worth a try."""
    single, chosen = [], []
    for edge, normalize in product(("raw", "rowmax", "rowsum"), (False, True)):
        each = [
            separate(pairs, Rule(f"layer {n}", (n,), edge, normalize))  # type: ignore[arg-type]
            for n in range(pairs.layers)
        ]
        single += each
        for name, layers in _choices([one.auc for one in each]).items():
            rule = Rule(name, layers, edge, normalize)  # type: ignore[arg-type]
            chosen.append(each[layers[0]] if len(layers) == 1 else separate(pairs, rule))
    return single, chosen


def _choices(aucs: Sequence[float]) -> dict[str, tuple[int, ...]]:
    """Names of choices and their layers; each set of layers under its first name."""
    count = len(aucs)
    best = sorted(range(count), key=lambda n: (-aucs[n], n))
    last = max(1, count - math.floor(count * (1 - LAST_SHARE) + 1e-9))
    named = {
        "all": tuple(range(count)),
        "last 30 %": tuple(range(count - last, count)),
        "first": (0,),
        "best": (best[0],),
        **{f"best {few}": tuple(sorted(best[:few])) for few in FEW if few < count},
    }
    different: dict[str, tuple[int, ...]] = {}
    for name, layers in named.items():
        if layers not in different.values():
            different[name] = layers
    return different


def best_of(separations: Sequence[Separation], keep: float) -> Separation:
    """The highest AUC; of those about as high the widest gap."""
    highest = max(each.auc for each in separations)
    good = [each for each in separations if each.auc >= highest - AS_GOOD]
    return max(good, key=lambda each: each.gap(keep))
