"""One choice of DAPD changed at a time."""

from typing import Any

from quality.cells import Cell, Finished
from quality.intervals import summary
from quality.samplers import Spec
from quality.scale import Scale

NAME = "ablations"
BOARDS: dict[str, dict[str, Any]] = {
    "mixed": {"task": "questions"},
    "uncertain": {"task": "questions", "kinds": "ST"},
    "deterministic": {"task": "questions", "kinds": "CA"},
    "sums": {"task": "sums"},
}
# What every row starts from: the published rule, all its choices spelled out.
BASE: Spec = {
    "rule": "DAPD",
    "tau_min": 0.01,
    "tau_max": 0.05,
    "layers": 1.0,
    "edge": "rowmax",
    "order": "degree*confidence",
    "precommit": 0.998046875,
    "late": None,
}
CHANGES: dict[str, dict[str, dict[str, Any]]] = {
    "layers": {
        "all": {},
        "last 30 % (the paper's choice)": {"layers": 0.3},
        "layer 0": {"layers": [0]},
        "layer 1": {"layers": [1]},
        "layer 2": {"layers": [2]},
    },
    "order of the scan": {
        "degree*confidence": {},
        "degree": {"order": "degree"},
        "confidence": {"order": "confidence"},
    },
    "tau": {
        "0.01 to 0.05": {},
        "constant 0.01": {"tau_max": 0.01},
        "constant 0.05": {"tau_min": 0.05},
        "0.05 to 0.01": {"tau_min": 0.05, "tau_max": 0.01},
        "0.01 to 0.15": {"tau_max": 0.15},
        "constant 0.15": {"tau_min": 0.15, "tau_max": 0.15},
        "constant 0.3": {"tau_min": 0.3, "tau_max": 0.3},
        "0: every pair is an edge": {"tau_min": 0.0, "tau_max": 0.0},
        "1: there are no edges": {"tau_min": 1.0, "tau_max": 1.0},
    },
    "edges": {
        "rowmax": {},
        "rowsum": {"edge": "rowsum"},
        "raw": {"edge": "raw"},
        "raw, rows renormalised": {"edge": "raw", "normalize": True},
    },
    "precommit": {
        "from 0.998 on": {},
        "never": {"precommit": None},
        "from 0.9 on": {"precommit": 0.9},
        "from 0.9 on, then out of the graph": {"precommit": 0.9, "precommit_in_graph": False},
        "from 0.998 on, then out of the graph": {"precommit_in_graph": False},
    },
    "late rule": {
        "none, but precommit 0.998": {},
        "none, no precommit": {"precommit": None},
        "union, no precommit (staged)": {"precommit": None, "late": "union"},
        "switch, no precommit": {"precommit": None, "late": "switch"},
        "switch, no precommit, raw > 0.01 (the literal rule)": {
            "precommit": None,
            "late": "switch",
            "edge": "raw",
            "tau_min": 0.01,
            "tau_max": 0.01,
        },
        "union and precommit 0.998": {"late": "union"},
    },
    "graph reuse": {
        "every step": {},
        "every 2nd": {"reuse": 2},
        "every 3rd": {"reuse": 3},
        "every 4th": {"reuse": 4},
    },
}


def row_cells(scale: Scale, board: str, change: dict[str, Any]) -> list[Cell]:
    """One cell per seed."""
    task = BOARDS[board]["task"]
    return [
        Cell.of(
            "decode",
            model=scale.model(task, seed),
            board=BOARDS[board],
            split="test",
            count=scale.sums if task == "sums" else scale.ablation,
            sampler={**BASE, **change},
        )
        for seed in scale.seeds
    ]


def cells(scale: Scale) -> list[Cell]:
    """Everything this experiment needs; the base once."""
    found = [
        cell
        for board in BOARDS
        for variants in CHANGES.values()
        for change in variants.values()
        for cell in row_cells(scale, board, change)
    ]
    return list(dict.fromkeys(found))


def collect(scale: Scale, finished: Finished) -> dict[str, Any]:
    """{"rows": one per board, choice and variant}."""
    rows = []
    for choice, variants in CHANGES.items():
        for variant, change in variants.items():
            for board in BOARDS:
                found = finished.all_of(row_cells(scale, board, change))
                if found:
                    row = {"choice": choice, "variant": variant, "board": board}
                    rows.append(row | summary(found))
    counts = {"questions": scale.ablation, "sums": scale.sums}
    return {"base": BASE, "counts": counts, "rows": rows}
