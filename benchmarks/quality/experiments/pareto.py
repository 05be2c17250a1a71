"""Accuracy against steps for every strategy, tuned by one rule on prompts of their own."""

from typing import Any

from quality.cells import Cell, Finished
from quality.families import FAMILIES, FIXED
from quality.intervals import summary
from quality.samplers import Spec, describe
from quality.scale import Scale

NAME = "pareto"
BOARDS: dict[str, dict[str, Any]] = {
    "grammar": {"task": "grammar"},
    "mixed": {"task": "questions"},
    "uncertain": {"task": "questions", "kinds": "ST"},
    "deterministic": {"task": "questions", "kinds": "CA"},
}
TUNED_ON = {"grammar": "grammar", "mixed": "mixed"}  # boards with a validation split
TUNED_ON |= {"uncertain": "mixed", "deterministic": "mixed"}  # settings carried over
ALLOWED_LOSS = 0.01  # of one token per step, on the validation split
ONE = FAMILIES["TopConfidence"]("questions")[0]


def grid(scale: Scale, family: str, task: str) -> list[Spec]:
    """The settings of a family that are tried on a task."""
    return FAMILIES[family](task)[: scale.settings]


def cell(scale: Scale, board: str, split: str, seed: int, sampler: Spec) -> Cell:
    """One strategy on one board."""
    task = BOARDS[board]["task"]
    return Cell.of(
        "decode",
        model=scale.model(task, seed),
        board=BOARDS[board],
        split=split,
        count=scale.count(task),
        sampler=sampler,
    )


def cells(scale: Scale) -> list[Cell]:
    """The whole grids on the boards with validation, then all on the others.

    Which setting is tuned is known only after validation; a grid is small, so the other two boards
    get the fixed rows here and the tuned ones from :func:`later`.
    """
    found = [cell(scale, *where) for where in _grid_places(scale)]
    for board in BOARDS:
        for sampler in _fixed(board):
            found += [cell(scale, board, "test", seed, sampler) for seed in scale.seeds]
    return list(dict.fromkeys(found))


def later(scale: Scale, finished: Finished) -> list[Cell]:
    """The tuned settings on the boards that have no validation of their own."""
    return [
        cell(scale, board, "test", seed, sampler)
        for board in ("uncertain", "deterministic")
        for family in FAMILIES
        for seed in scale.seeds
        if (sampler := tuned(scale, finished, board, family, seed)) is not None
    ]


def _grid_places(scale: Scale) -> list[tuple[str, str, int, Spec]]:
    return [
        (board, split, seed, sampler)
        for board in ("mixed", "grammar")
        for family in FAMILIES
        for sampler in grid(scale, family, BOARDS[board]["task"])
        for split in ("validation", "test")
        for seed in scale.seeds
    ]


def _fixed(board: str) -> list[Spec]:
    return FIXED[BOARDS[board]["task"]]


def tuned(scale: Scale, finished: Finished, board: str, family: str, seed: int) -> Spec | None:
    """The setting that takes fewest steps on the validation split among those at most 0.01 below
    one token per step there; the more accurate one of equals. None if none is, or if the
    validation is not finished."""
    board = TUNED_ON[board]
    one = finished(cell(scale, board, "validation", seed, ONE))
    if one is None:
        return None
    least = _mean(one["score"]) - ALLOWED_LOSS
    found = []
    for sampler in grid(scale, family, BOARDS[board]["task"]):
        result = finished(cell(scale, board, "validation", seed, sampler))
        if result is None:
            return None
        if _mean(result["score"]) >= least:
            found.append((_mean(result["steps"]), -_mean(result["score"]), sampler))
    return min(found, key=lambda entry: entry[:2])[2] if found else None


def collect(scale: Scale, finished: Finished) -> dict[str, Any]:
    """{"boards": {board: {"grid": rows, "tuned": rows, "fixed": rows}}}."""
    boards: dict[str, Any] = {}
    for board in BOARDS:
        boards[board] = {
            "count": scale.count(BOARDS[board]["task"]),
            "tuned_on": TUNED_ON[board],
            "grid": _grid_rows(scale, finished, board) if TUNED_ON[board] == board else [],
            "tuned": _tuned_rows(scale, finished, board),
            "fixed": _fixed_rows(scale, finished, board),
        }
    return {"allowed_loss": ALLOWED_LOSS, "boards": boards}


def _grid_rows(scale: Scale, finished: Finished, board: str) -> list[dict[str, Any]]:
    rows = []
    for family in FAMILIES:
        for sampler in grid(scale, family, BOARDS[board]["task"]):
            asked = [cell(scale, board, "test", seed, sampler) for seed in scale.seeds]
            found = finished.all_of(asked)
            if found:
                rows.append({"family": family, "sampler": describe(sampler)} | summary(found))
    return rows


def _fixed_rows(scale: Scale, finished: Finished, board: str) -> list[dict[str, Any]]:
    rows = []
    for sampler in _fixed(board):
        asked = [cell(scale, board, "test", seed, sampler) for seed in scale.seeds]
        found = finished.all_of(asked)
        if found:
            rows.append({"sampler": describe(sampler)} | summary(found))
    return rows


def _tuned_rows(scale: Scale, finished: Finished, board: str) -> list[dict[str, Any]]:
    """One row per family; "none" says that no setting of some seed was good enough."""
    rows: list[dict[str, Any]] = []
    for family in FAMILIES:
        chosen = [tuned(scale, finished, board, family, seed) for seed in scale.seeds]
        asked = [
            cell(scale, board, "test", seed, sampler)
            for seed, sampler in zip(scale.seeds, chosen, strict=True)
            if sampler is not None
        ]
        found = finished.all_of(asked)
        row: dict[str, Any] = {
            "family": family,
            "tried": len(grid(scale, family, BOARDS[board]["task"])),
            "chosen": [None if spec is None else describe(spec) for spec in chosen],
        }
        rows.append(row | summary(found) if found else row)
    return rows


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)
