"""How the number of steps grows with the number of uncertain questions asked at once."""

from typing import Any

from quality.cells import Cell, Finished
from quality.families import fitted, literal
from quality.intervals import summary
from quality.samplers import Spec, describe
from quality.scale import Scale

NAME = "scaling"
ASKED = (1, 2, 3, 4, 5)
SAMPLERS: list[Spec] = [
    {"rule": "TopConfidence"},
    {"rule": "KLASS"},
    {"rule": "Threshold"},
    {"rule": "EntropyBound"},
    literal("questions")[1],
    {"rule": "DAPD.staged", "layers": [0]},
    {"rule": "DAPD.direct", "layers": 1.0},
    {"rule": "DAPD.direct", "layers": [0]},
    fitted("questions")[1],
]


def row_cells(scale: Scale, sampler: Spec, asked: int) -> list[Cell]:
    """One cell per seed."""
    return [
        Cell.of(
            "decode",
            model=scale.model("questions", seed),
            board={"task": "questions", "kinds": "ST", "asked": asked},
            split="test",
            count=scale.scaling,
            sampler=sampler,
        )
        for seed in scale.seeds
    ]


def cells(scale: Scale) -> list[Cell]:
    """Everything this experiment needs."""
    return [
        cell for sampler in SAMPLERS for asked in ASKED for cell in row_cells(scale, sampler, asked)
    ]


def collect(scale: Scale, finished: Finished) -> dict[str, Any]:
    """{"rows": one per strategy and number of questions}."""
    rows = []
    for sampler in SAMPLERS:
        for asked in ASKED:
            found = finished.all_of(row_cells(scale, sampler, asked))
            if found:
                rows.append({"sampler": describe(sampler), "asked": asked} | summary(found))
    return {"count": scale.scaling, "rows": rows}
