"""What is told of a GPU: targets, tables, charts, and nothing where nothing was measured."""

import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

from gpu import cases, check, outside, plots, report


def measured(slower: float = 1.0) -> dict[str, Any]:
    """A report as of a card on which everything takes 1.1 times its floor, times `slower`."""
    found: dict[str, Any] = {
        "device": "cuda",
        "machine": {
            "gpu": "a card",
            "driver": "1",
            "nvcc": "13.0",
            "torch": "2.11",
            "triton": "3",
            "commit": "0123456789abcdef",
            "dirty": False,
            "multiprocessors": 132,
        },
        "ceilings": {
            "copy_bytes_per_s": 4e12,
            "read_bytes_per_s": 4e12,
            "l2_read_bytes_per_s": 8e12,
            "gemm_flop_per_s": 7e14,
            "graph_kernel_s": 1e-6,
        },
        "rows": {},
        "parts": [{"name": "build", "status": "ok", "message": ""}],
        "tests": {"passed": 10, "failed": 0},
        "sanitizers": dict.fromkeys(outside.SANITIZERS, "clean"),
        "traces": {"compared": 1000, "equal": 1000, "unclear": 9, "asked_for": 1000},
        "stages": [{"who": "unmask", "stages": {"confidence": 1e-5, "graph": 2e-6}}],
        "memory": [{"length": 512, "peak_bytes": {"unmask": 10, "float64": 1000}}],
    }
    for operator, all_cases in cases.CASES.items():
        for case in all_cases:
            time_s = 1.1 * slower * max(case.bytes / 4e12, case.flop / 7e14)
            peer = {"median_s": 3 * time_s / slower}
            facts = {"launches": 4, "host_syncs": 0} if operator == "step" else {}
            found["rows"].setdefault(operator, []).append(
                {
                    **case._asdict(),
                    "case": str(case),
                    "bytes": case.bytes,
                    "flop": case.flop,
                    "ours": {"median_s": time_s},
                    "exponentials": 1,
                    **facts,
                    "peers": dict.fromkeys(report.PEERS[operator], peer),
                }
            )
    return found


def test_targets_are_met_not_met_or_not_measured() -> None:
    assert {met for *_, met in report.targets(measured())} == {"met"}
    slow = [met for *_, met in report.targets(measured(slower=20.0))]
    assert slow == ["not met"] * 6 + ["met"] * 4
    assert {met for *_, met in report.targets({})} == {report.NOTHING}
    assert {found for _, found, _ in report.targets({})} == {report.NOTHING}


def test_a_wrong_answer_has_no_time_and_meets_nothing() -> None:
    found = measured()
    case = str(cases.Step("DAPD", 1, 256))
    rows = found["rows"]["step"]
    at = next(i for i, row in enumerate(rows) if row["case"] == case)
    rows[at] = {"case": case, "wrong": "tokens: 3 of 512 differ"}
    assert f"| {case} | " in report.markdown(found)
    assert "wrong: tokens: 3 of 512 differ" in report.markdown(found)
    verdicts = {what: met for what, _, met in report.targets(found)}
    assert verdicts["`dapd_step_`: B = 1, M = 256 within 40 us in a graph"] == report.NOTHING
    found["traces"]["equal"] = 999
    assert report.targets(found)[7][1:] == ("999 of 1000", "not met")
    found["sanitizers"]["racecheck"] = "RACECHECK SUMMARY: 1 hazard"
    assert report.targets(found)[9][2] == "not met"


def test_tables_have_every_case_and_nothing_where_nothing_is() -> None:
    empty, full = report.markdown({}), report.markdown(measured())
    for operator, all_cases in cases.CASES.items():
        assert len({str(case) for case in all_cases}) == len(all_cases)
        assert set(cases.TARGETED[operator]) <= set(all_cases)
        for case in all_cases:
            assert f"| {case} |" in empty
            assert f"| {case} |" in full
    assert report.NOTHING not in full
    assert "91 %" in full  # 1 / 1.1
    assert "3.00x" in full


def test_the_document_is_what_the_generator_writes(tmp_path: Path) -> None:
    copy = tmp_path / "performance.md"
    copy.write_text(report.DOCUMENT.read_text())
    report.rewrite(document=copy)
    assert copy.read_text() == report.DOCUMENT.read_text(), "run python benchmarks/gpu/report.py"
    copy.write_text("no markers\n")
    with pytest.raises(ValueError, match="must have the markers"):
        report.rewrite(document=copy)


def test_where_numbers_are_from() -> None:
    assert "No GPU has run these kernels yet" in report.markdown({})
    assert "on a card, driver 1, CUDA 13.0, torch 2.11" in report.markdown(measured())
    nameless = measured() | {"machine": {}}
    assert "No GPU has run" not in report.markdown(nameless)
    assert check.measured(measured())
    assert not check.measured({"rows": {"step": [{"case": "one", "failed": "out of time"}]}})


def test_six_charts(tmp_path: Path) -> None:
    assert plots.draw(measured(), tmp_path) == len(list(tmp_path.glob("gpu_*.png"))) == 6
    without_ceilings = measured() | {"ceilings": {}}
    assert 0 < plots.draw(without_ceilings, tmp_path) < 6
    assert report.NOTHING in report.markdown(without_ceilings)
    nothing: dict[str, Any] = {"device": "cuda", "rows": {}, "machine": {}, "ceilings": {}}
    assert plots.draw(nothing, tmp_path) == 0


def test_floors_count_what_must_move() -> None:
    assert cases.TopK(256).bytes == pytest.approx(256 * 126464 * 2, rel=1e-3)
    given, alone = cases.Scores(256, 4096), cases.Scores(256, 4096, given="")
    assert given.flop == 10 * 2 * 32 * 256 * 256 * 128
    assert alone.flop == 16 * given.flop
    assert given.bytes == pytest.approx(10 * 2 * 32 * 256 * 128 * 2, rel=0.02)
    assert cases.Sets(132, 1024, 8).bytes == pytest.approx(132 * 1024 * 1024 / 8, rel=0.05)
