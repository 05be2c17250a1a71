"""The controlled experiment: five numbers and the sums of neighbours, whose graph is known."""

from typing import Any

from quality.cells import Cell, Finished
from quality.intervals import summary
from quality.samplers import Spec, describe
from quality.scale import Scale

NAME = "sums"
TASK = "sums"
LAYERS: dict[str, Any] = {"layer 0": [0], "layer 1": [1], "layer 2": [2], "all layers": 1.0}
CONFIDENT = {"edge": "raw", "precommit": 0.9, "layers": [0]}

SAMPLERS: dict[str, list[Spec]] = {
    "one per step": [{"rule": "TopConfidence"}],
    "top-k": [{"rule": "TopConfidence", "tokens_per_step": k} for k in (2, 3)],
    "random order": [{"rule": "Random", "tokens_per_step": k} for k in (1, 2, 3)],
    "Threshold": [{"rule": "Threshold", "threshold": bar} for bar in (0.9, 0.7, 0.5)],
    "KLASS": [{"rule": "KLASS"}],
    "EntropyBound": [{"rule": "EntropyBound", "gamma": g} for g in (0.1, 0.5, 1.4, 2.4)],
    "DAPD, layer 0, literal rule": [
        {"rule": "literal", "tau": tau, "layers": [0]} for tau in (0.05, 0.14, 0.25, 0.3)
    ],
    "DAPD, layer 0, raw scores": [
        {"rule": "DAPD", "tau_min": tau, "tau_max": tau, **CONFIDENT} for tau in (0.05, 0.14, 0.25)
    ],
    "DAPD, layer 0, as published": [
        {"rule": f"DAPD.{preset}", "layers": [0]}
        for preset in ("staged", "direct", "confident_first")
    ],
    "DAPD, all layers, as published": [
        {"rule": f"DAPD.{preset}", "layers": 1.0}
        for preset in ("staged", "direct", "confident_first")
    ],
    "DAPD, all layers, rowmax": [
        {"rule": "DAPD.direct", "tau_min": tau, "tau_max": tau, "layers": 1.0}
        for tau in (0.2, 0.3, 0.4)
    ],
    "DAPD, last 30 % of layers, as published": [
        {"rule": f"DAPD.{preset}"} for preset in ("staged", "direct", "confident_first")
    ],
    "DAPD, last 30 % of layers, literal rule": [{"rule": "literal", "tau": 0.01, "layers": 0.3}],
    "true graph": [{"rule": "Scan", "truth": TASK}],
    "true graph, wrong order": [
        {"rule": "Scan", "truth": TASK, "order": order}
        for order in ("confidence", "random", "-degree")
    ],
    "layer 0, wrong order": [
        {"rule": "Scan", "order": order} for order in ("confidence", "random", "-degree")
    ],
}


def edge_cells(scale: Scale, at: int, layers: str, partial: bool) -> list[Cell]:
    """One cell per seed."""
    return [
        Cell.of(
            "edges",
            model=scale.model(TASK, seed, at),
            count=scale.sums,
            layers=LAYERS[layers],
            partial=partial,
        )
        for seed in scale.seeds
    ]


def sampler_cells(scale: Scale, sampler: Spec) -> list[Cell]:
    """One cell per seed."""
    return [
        Cell.of(
            "decode",
            model=scale.model(TASK, seed),
            board={"task": TASK},
            split="test",
            count=scale.sums,
            sampler=sampler,
        )
        for seed in scale.seeds
    ]


def cells(scale: Scale) -> list[Cell]:
    """Everything this experiment needs."""
    graphs = [
        cell
        for at in scale.snapshots
        for layers in LAYERS
        for partial in (False, True)
        for cell in edge_cells(scale, at, layers, partial)
    ]
    decoded = [
        cell
        for specs in SAMPLERS.values()
        for sampler in specs[: scale.settings]
        for cell in sampler_cells(scale, sampler)
    ]
    return graphs + decoded


def collect(scale: Scale, finished: Finished) -> dict[str, Any]:
    """{"edges": rows by training step and layers, "samplers": rows by family}."""
    edges = []
    for at in scale.snapshots:
        for layers in LAYERS:
            for partial in (False, True):
                found = finished.all_of(edge_cells(scale, at, layers, partial))
                if found:
                    row: dict[str, Any] = {"at": at, "layers": layers, "partial": partial}
                    for name in ("auc", "ratio", "violated"):
                        row[name] = [round(cell[name], 5) for cell in found]
                    edges.append(row)
    samplers = []
    for family, specs in SAMPLERS.items():
        for sampler in specs[: scale.settings]:
            found = finished.all_of(sampler_cells(scale, sampler))
            if found:
                samplers.append({"family": family, "sampler": describe(sampler)} | summary(found))
    return {"count": scale.sums, "edges": edges, "samplers": samplers}
