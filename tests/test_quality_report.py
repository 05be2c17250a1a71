"""The evidence of decoding quality: that the page says what was measured, and that it can be
measured again."""

import json
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "quality"
sys.path.insert(0, str(ROOT / "benchmarks"))

from quality import intervals, report, run, samplers  # noqa: E402
from quality.cells import Cache, Cell, Finished  # noqa: E402
from quality.experiments import pareto  # noqa: E402
from quality.families import FAMILIES  # noqa: E402
from quality.scale import TINY  # noqa: E402
from unmask import strategies, toy  # noqa: E402


def test_the_document_is_what_the_results_say() -> None:
    told = (ROOT / "docs" / "quality.md").read_text()
    assert told == report.document(RESULTS), (
        "run: PYTHONPATH=benchmarks python -m quality.run --report"
    )


def test_pictures_of_the_document_are_there_and_small() -> None:
    told = (ROOT / "docs" / "quality.md").read_text()
    named = [part.partition(")")[0] for part in told.split("](quality/")[1:]]
    assert len(named) >= 7
    for name in named:
        assert 0 < (ROOT / "docs" / "quality" / name).stat().st_size < 100_000, name


def test_every_strategy_is_in_the_comparison() -> None:
    rules = {spec["rule"] for grid in FAMILIES.values() for spec in grid("questions")}
    known = {rule.partition(".")[0] for rule in rules}
    named = {name for name in strategies.__all__ if isinstance(getattr(strategies, name), type)}
    concrete = named - {"StepInputs", "Strategy"}
    assert concrete <= known


def test_runs_from_nothing_and_goes_on_where_it_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = ["--cache", "cache", "--results", "results", "--docs", "docs"]
    monkeypatch.chdir(tmp_path)
    run.main(["--tiny", "--only", "sums", "--jobs", "1", "--minutes", "0", *places])
    stored = json.loads(Path("results/sums.json").read_text())
    assert stored["cells_missing"] > 0
    assert "cells were not run" in Path("docs/quality.md").read_text()

    run.main(["--tiny", "--only", "sums", "--jobs", "1", *places])
    stored = json.loads(Path("results/sums.json").read_text())
    assert stored["cells_missing"] == 0
    one = next(row for row in stored["samplers"] if row["family"] == "one per step")
    assert one["steps"] == 9

    cells = sorted(Path("cache/cells").iterdir())
    before = [cell.stat().st_mtime_ns for cell in cells]
    run.main(["--tiny", "--only", "sums", "--jobs", "1", *places])
    assert [cell.stat().st_mtime_ns for cell in cells] == before


def test_tuning_takes_the_fastest_that_is_good_enough(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    grid = FAMILIES["Threshold"]("questions")
    scale = TINY.__class__(**{**TINY.__dict__, "settings": None})

    def note(sampler: samplers.Spec, steps: float, score: float) -> None:
        cell = pareto.cell(scale, "mixed", "validation", 0, sampler)
        cache.write(cell, {"steps": [steps], "score": [score]})

    note(pareto.ONE, 20, 1.0)
    for sampler, steps, score in zip(grid, (9, 6, 4, 2), (1.0, 0.995, 0.98, 0.5), strict=True):
        note(sampler, steps, score)

    chosen = pareto.tuned(scale, Finished(cache), "uncertain", "Threshold", 0)

    assert chosen == grid[1]


def test_a_cell_is_its_settings() -> None:
    assert Cell.of("decode", a=1, b=2) == Cell.of("decode", b=2, a=1)
    assert Cell.of("decode", a=1).key != Cell.of("edges", a=1).key


def test_intervals_hold_the_mean() -> None:
    row = intervals.summary(
        [{"steps": [1, 3], "score": [0, 1]}, {"steps": [2, 4], "score": [1, 1]}]
    )
    assert row["steps"] == 2.5
    assert row["steps_range"] == [2, 3]
    assert row["score_95"][0] < row["score"] == 0.75 < row["score_95"][1]


def test_a_wino_model_with_places_is_the_model_itself() -> None:
    model, task = toy.load("questions")
    tokens = task.prompt(task.sample(3, torch.Generator().manual_seed(0)))
    place = torch.arange(task.length).expand(3, -1)
    everyone = torch.ones(3, 1, task.length, task.length, dtype=torch.bool)
    with torch.no_grad():
        placed = samplers.WithPlaces(model)(tokens, everyone, place).logits
        assert torch.allclose(placed, model(tokens).logits, atol=1e-5)  # another sum order, no more
