import json
import subprocess
import sys

import pytest
import torch
from unmask import toy
from unmask.demo import BOARDS, annotate, decode_with_steps
from unmask.strategies import TopConfidence
from unmask.toy.evaluate import competitors, prompts


def demo(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "unmask.demo", *arguments], capture_output=True, text=True
    )


@pytest.fixture(scope="module")
def report() -> dict[str, object]:
    done = demo("--n", "60", "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def rows(report: dict, title: str) -> dict[str, dict[str, float]]:
    return {row["strategy"]: row for row in report["boards"][title]}


def test_every_strategy_is_in_every_table(report: dict) -> None:
    for title, name, _ in BOARDS:
        assert list(rows(report, title)) == list(competitors(toy.TASKS[name]))


def test_dapd_needs_a_fraction_of_the_steps(report: dict) -> None:
    mixed = rows(report, "Five questions, mixed")
    dapd, one = mixed["DAPD.direct(layers=[0])"], mixed["one per step"]
    assert one["steps"] == 20
    assert dapd["steps"] <= 0.2 * one["steps"]
    assert dapd["score"] >= one["score"] - 0.01


def test_the_rows_where_dapd_does_not_win_are_shown(report: dict) -> None:
    certain = rows(report, "Five questions, deterministic answers only")
    assert certain["DAPD.staged(layers=[0])"]["steps"] > certain["Threshold(0.9)"]["steps"]


def test_a_seed_gives_the_same_numbers_again(report: dict) -> None:
    again = json.loads(demo("--n", "60", "--json").stdout)
    for title, _, _ in BOARDS:
        for before, after in zip(report["boards"][title], again["boards"][title], strict=True):
            assert {**before, "seconds": 0} == {**after, "seconds": 0}


def test_prints_sentences_and_tables() -> None:
    done = demo("--n", "2")
    assert done.returncode == 0, done.stderr
    assert "DAPD.confident_first()" in done.stdout
    assert done.stdout.count("₁") > 3


def test_words_carry_the_step_that_revealed_them() -> None:
    task = toy.TASKS["grammar"]
    lines = decode_with_steps(TopConfidence(), prompts(task, 2, 0), seed=0)
    shown = sorted(word[-1] for word in lines[0].plain.split()[:11])
    assert shown == sorted("₁₂₃₄₅₆₇₈₉₀₁")
    assert annotate(["he"], [11], valid=True).plain == "  he₁₂ valid"


def test_refuses_no_sequences() -> None:
    done = demo("--n", "0")
    assert done.returncode != 0
    assert "--n must be at least 1, got 0" in done.stderr


def test_demo_prompts_differ_by_seed() -> None:
    task = toy.TASKS["questions"]
    assert not torch.equal(prompts(task, 3, 0), prompts(task, 3, 1))
