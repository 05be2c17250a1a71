"""Every strategy of ``unmask.strategies`` with a small grid of its main parameter."""

from collections.abc import Callable
from typing import Any

from quality.samplers import Spec

Grid = Callable[[str], list[Spec]]  # of a task's name
LENGTH = {"questions": 20, "grammar": 11}  # masks


def over(rule: str, name: str, *values: Any, **fixed: Any) -> Grid:
    """A grid of one parameter, the same for every task."""
    return lambda task: [{"rule": rule, name: value, **fixed} for value in values]


def paced(rule: str) -> Grid:
    """Rules that are told their number of steps."""
    return lambda task: [
        {"rule": rule, "steps": steps}
        for steps in (LENGTH[task], LENGTH[task] * 3 // 4, LENGTH[task] // 2, LENGTH[task] // 4)
    ]


def together(*grids: Grid) -> Grid:
    """One grid after the other."""
    return lambda task: [spec for grid in grids for spec in grid(task)]


def preset(name: str) -> Grid:
    """A preset of DAPD: with its own thresholds on the last 30 %, all, and the first layer, and
    with others on the latter two."""
    rule = f"DAPD.{name}"

    def grid(task: str) -> list[Spec]:
        if task == "grammar":  # a single layer: nothing to choose
            own: list[Spec] = [{"rule": rule}]
            return own + [{"rule": rule, "tau_min": t, "tau_max": t} for t in (0.05, 0.3, 0.5)]
        own = [{"rule": rule, "layers": layers} for layers in (0.3, 1.0, [0])]
        return own + [
            {"rule": rule, "layers": layers, "tau_min": tau, "tau_max": tau}
            for layers, tau in ((1.0, 0.1), (1.0, 0.2), ([0], 0.02), ([0], 0.05))
        ]

    return grid


def fitted(task: str) -> list[Spec]:
    """Confident tokens first, absolute scores in layer 0; where there is a prompt, of rows
    renormalised over the masks."""
    scores, taus = (
        ({"normalize": True}, (0.002, 0.005, 0.01, 0.02))
        if task == "questions"
        else ({}, (0.1, 0.14, 0.2))
    )
    rule: Spec = {"rule": "DAPD.confident_first", "edge": "raw", "layers": [0], **scores}
    return [{**rule, "tau_min": tau, "tau_max": tau} for tau in taus]


def literal(task: str) -> list[Spec]:
    """The paper's text word by word, its scores absolute."""
    if task == "grammar":
        return [{"rule": "literal", "tau": tau, "layers": [0]} for tau in (0.1, 0.14, 0.2)]
    first = [
        {"rule": "literal", "tau": tau, "layers": [0], "normalize": True}
        for tau in (0.002, 0.005, 0.01)
    ]
    return [*first, {"rule": "literal", "tau": 0.01, "layers": 0.3}]


FAMILIES: dict[str, Grid] = {
    "TopConfidence": over("TopConfidence", "tokens_per_step", 1, 2, 3),
    "Random": over("Random", "tokens_per_step", 1, 2, 3),
    "Margin": over("Margin", "tokens_per_step", 1, 2, 3),
    "Entropy": over("Entropy", "tokens_per_step", 1, 2, 3),
    "DreamOrigin": paced("DreamOrigin"),
    "Threshold": over("Threshold", "threshold", 0.99, 0.9, 0.7, 0.5),
    "Factor": over("Factor", "factor", 0.5, 1.0, 2.0),
    "EntropyBound": over("EntropyBound", "gamma", 0.01, 0.1, 0.4, 0.8),
    "KLASS": together(
        over("KLASS", "confidence", 0.9), over("KLASS", "confidence", 0.7, kl=0.1, history=1)
    ),
    "DAWN": together(
        over("DAWN", "tau_edge", 0.07),
        over("DAWN", "tau_edge", 0.02, 0.07, layers=[0]),
        over("DAWN", "tau_edge", 0.02, layers=[0], tau_sink=0.2, tau_low=0.5),
    ),
    "LocalLeap": over("LocalLeap", "relaxed", 0.85, 0.75, 0.5),
    "Hierarchy": over("Hierarchy", "low", 0.6, 0.4, 0.2),
    "PrefixEntropy": over("PrefixEntropy", "budget", 0.5, 1.0, 4.0),
    "CumulativeDependency": together(
        over("CumulativeDependency", "budget", 0.05, 0.2, 0.5, layers=1.0),
        over("CumulativeDependency", "budget", 0.05, 0.2, 0.5, layers=[0]),
    ),
    "CreditDecoding": over("CreditDecoding", "alpha", 0.3, 0.7, 1.4),
    "PUNT": over("PUNT", "epsilon", 0.01, 0.05, 0.2),
    "LoPA": over("LoPA", "branches", 1, 3),
    "WINO": over("WINO", "tau_draft", 0.8, 0.6, 0.4),
    "ReMDM": paced("ReMDM"),
    "DAPD.staged": preset("staged"),
    "DAPD.direct": preset("direct"),
    "DAPD.confident_first": preset("confident_first"),
    "DAPD, fitted scores": fitted,
    "DAPD, literal rule": literal,
}

# Rows that stand in every table as they are published, tuned or not.
PUBLISHED: list[Spec] = [
    {"rule": "TopConfidence"},
    {"rule": "Threshold"},
    {"rule": "EntropyBound"},
    {"rule": "KLASS"},
    {"rule": "DAPD.staged"},
    {"rule": "DAPD.direct"},
    {"rule": "DAPD.confident_first"},
]
FIXED: dict[str, list[Spec]] = {
    "grammar": [
        *PUBLISHED,
        {"rule": "TopConfidence", "tokens_per_step": LENGTH["grammar"]},
        fitted("grammar")[1],
        literal("grammar")[1],
    ],
    "questions": [
        *PUBLISHED,
        {"rule": "DAPD.staged", "layers": [0]},
        {"rule": "DAPD.direct", "layers": [0]},
        {"rule": "DAPD.confident_first", "layers": [0]},
        fitted("questions")[1],
        literal("questions")[1],
    ],
}
