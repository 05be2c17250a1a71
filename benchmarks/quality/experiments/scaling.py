"""How the number of steps grows with the number of uncertain questions asked at once."""

from typing import Any

from quality.cells import Cell, Finished
from quality.families import fitted, literal
from quality.intervals import summary
from quality.samplers import Spec, describe
from quality.scale import Scale

NAME = "scaling"
PLACES = [("ST", asked) for asked in (1, 2, 3, 4, 5)]
PLACES += [("CA", 5)]  # for comparison: nothing is uncertain there
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


def row_cells(scale: Scale, sampler: Spec, kinds: str, asked: int) -> list[Cell]:
    """One cell per seed."""
    return [
        Cell.of(
            "decode",
            model=scale.model("questions", seed),
            board={"task": "questions", "kinds": kinds, "asked": asked},
            split="test",
            count=scale.scaling,
            sampler=sampler,
        )
        for seed in scale.seeds
    ]


def cells(scale: Scale) -> list[Cell]:
    """Everything this experiment needs."""
    return [
        cell
        for sampler in SAMPLERS
        for place in PLACES
        for cell in row_cells(scale, sampler, *place)
    ]


def collect(scale: Scale, finished: Finished) -> dict[str, Any]:
    """{"rows": one per strategy, kinds of questions and their number}."""
    rows = []
    for sampler in SAMPLERS:
        for kinds, asked in PLACES:
            found = finished.all_of(row_cells(scale, sampler, kinds, asked))
            if found:
                place = {"sampler": describe(sampler), "kinds": kinds, "asked": asked}
                rows.append(place | summary(found))
    return {"count": scale.scaling, "rows": rows}
