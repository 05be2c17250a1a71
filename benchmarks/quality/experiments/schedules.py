"""What schedules cost on laws whose divergence is known exactly."""

import math
from typing import Any

from unmask.schedules import Cosine, DTCAdaptive, Quota, Schedule, TCAdaptive, optimal_sizes
from unmask.schedules.kl import dtc_constant, overshoot, tc_constant

from quality.cells import Cache, Cell, Finished, Result, Settings
from quality.scale import Scale

NAME = "schedules"
ALPHABET = 2048  # a prime power above the length, so that the codes exist
SCHEDULES: dict[str, Schedule] = {
    "uniform": Quota(),
    "cosine": Cosine(),
    "TC": TCAdaptive(),
    "DTC": DTCAdaptive(),
}
SHARE = 0.01  # of the length: what counts as few free, or few decided, symbols
# (masks, steps): best randomised TC and DTC constant, best deterministic ones, as worked out
# independently of this package by the same derivation; None: not computed there.
DERIVED: dict[tuple[int, int], tuple[float | None, float | None, float, float]] = {
    (8, 2): (0.6143, 1.0656, 0.8571, 1.6667),
    (8, 4): (0.2025, 0.2121, 0.4286, 0.5),
    (16, 4): (0.3123, 0.3924, 0.5333, 1.0),
    (16, 8): (0.0948, 0.0954, 0.25, 0.25),
    (32, 4): (0.3949, 0.6054, 0.6667, 1.1333),
    (32, 8): (0.1558, 0.1725, 0.3333, 0.4),
    (64, 16): (None, None, 0.1818, 0.2),
    (256, 32): (None, None, 0.12, 0.1307),
}


def steps_of(length: int) -> list[int]:
    """Numbers of steps to try: powers of two and the numbers half-way between."""
    found = {2**k for k in range(1, 12)} | {3 * 2**k for k in range(10)}
    return sorted(k for k in found if 2 <= k <= length // 2)


def curve(settings: Settings, cache: Cache) -> Result:
    """The divergence of one schedule at one number of steps, in nats.

    Returns:
        kl: for every number m = 1 .. L - 1 of free symbols, worst: the largest of few decided
        (TC small), about half, and few free symbols (DTC small).
    """
    length, steps = settings["length"], settings["steps"]
    sizes = SCHEDULES[settings["schedule"]].sizes(length, steps)
    kl = [over * math.log(ALPHABET) for over in overshoot(sizes)]
    few = max(1, int(length * SHARE))
    middle = length // 2
    return {
        "kl": [round(value, 3) for value in kl],
        "worst": [
            max(kl[length - 1 - few :]),
            max(kl[middle - few : middle + few]),
            max(kl[:few]),
        ],
    }


def constants(settings: Settings, cache: Cache) -> Result:
    """The smallest c with E[KL] <= c TC (DTC) for every law: [TC, DTC] of each kind of schedule;
    randomised sizes only up to 32 masks, the linear program being slow beyond."""
    masks, steps = settings["masks"], settings["steps"]
    found: Result = {
        name: [tc_constant(sizes), dtc_constant(sizes)]
        for name, schedule in SCHEDULES.items()
        if (sizes := schedule.sizes(masks, steps))
    }
    if masks <= 32:
        found["randomised"] = [
            optimal_sizes(masks, steps, measure).constant for measure in ("tc", "dtc")
        ]
    return found


def _curve_cell(scale: Scale, schedule: str, steps: int) -> Cell:
    return Cell.of("curve", length=scale.length, schedule=schedule, steps=steps)


def _cases(scale: Scale) -> list[tuple[int, int]]:
    return [case for case in DERIVED if case[0] <= scale.constants]


def cells(scale: Scale) -> list[Cell]:
    """Everything this experiment needs."""
    curves = [
        _curve_cell(scale, schedule, steps)
        for schedule in SCHEDULES
        for steps in steps_of(scale.length)
    ]
    return curves + [
        Cell.of("constants", masks=masks, steps=steps) for masks, steps in _cases(scale)
    ]


def collect(scale: Scale, finished: Finished) -> dict[str, Any]:
    """Curves over the steps; over the free symbols at one number of steps; and the constants."""
    over_steps = []
    for schedule in SCHEDULES:
        for steps in steps_of(scale.length):
            result = finished(_curve_cell(scale, schedule, steps))
            if result:
                row = {"schedule": schedule, "steps": steps}
                over_steps.append(row | {"worst": [round(kl, 3) for kl in result["worst"]]})
    return {
        "length": scale.length,
        "alphabet": ALPHABET,
        "share": SHARE,
        "over_steps": over_steps,
        "over_free": _over_free(scale, finished),
        "constants": _constants(scale, finished),
    }


def _over_free(scale: Scale, finished: Finished) -> dict[str, Any]:
    """The worst divergence over all laws with at most so much TC, or DTC, at one number of steps:
    a curve that only rises, which the jagged divergence of single laws does not."""
    ladder = steps_of(scale.length)
    steps = min(ladder, key=lambda k: abs(k - scale.length // 32))
    unit = math.log(ALPHABET)
    symbols = sorted({max(1, round(scale.length ** (k / 30))) for k in range(30)})
    rows = []
    for schedule in SCHEDULES:
        result = finished(_curve_cell(scale, schedule, steps))
        if result:
            kl = result["kl"]
            for few in symbols:
                if few < scale.length:
                    worst = {"tc": max(kl[len(kl) - few :]), "dtc": max(kl[:few])}
                    row = {"schedule": schedule, "nats": round(few * unit, 3)}
                    rows.append(row | {name: round(value, 3) for name, value in worst.items()})
    return {"steps": steps, "rows": rows}


def _constants(scale: Scale, finished: Finished) -> list[dict[str, Any]]:
    rows = []
    for masks, steps in _cases(scale):
        result = finished(Cell.of("constants", masks=masks, steps=steps))
        if result:
            rounded = {name: [round(c, 4) for c in pair] for name, pair in result.items()}
            derived = list(DERIVED[masks, steps])
            rows.append({"masks": masks, "steps": steps, "derived": derived, "found": rounded})
    return rows
