"""The larger experiment at its smallest: the task judges, the tap hears, the pipeline writes."""

import json
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from unmask import AttentionTap, masked_positions

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def larger() -> ModuleType:
    sys.path.insert(0, str(ROOT / "benchmarks"))
    from quality import larger
    from quality.larger import evaluate, report, run, task, train  # noqa: F401

    return larger


@pytest.fixture
def texts(larger):
    task = larger.task.LargerQuestions(40)
    return task, task.sample(8, torch.Generator().manual_seed(0))


def test_full_size_has_200_prompt_tokens_and_128_answers(larger):
    task = larger.task.LargerQuestions()
    assert (task.first, task.length - task.first) == (200, 128)
    assert task.generated.nonzero().flatten().tolist() == list(range(200, 328))


def test_right_answers_score_1_and_each_wrong_digit_costs_its_question(texts):
    task, tokens = texts
    assert task.score(tokens).tolist() == [1.0] * 8
    assert set(task.kinds(tokens).flatten().tolist()) == set(range(5))
    wrong = tokens.clone()
    wrong[:, task.first :: 4] = (wrong[:, task.first :: 4] + 1) % 4
    assert task.score(wrong).max() <= 0.1  # another digit can be right where a phrasing turns
    assert task.score(task.prompt(tokens)).tolist() == [0.0] * 8


def test_both_phrasings_are_right_and_a_mixture_is_not(larger, texts):
    task, tokens = texts
    twice = task.kinds(tokens) == larger.task.KINDS.index("twice")
    p = tokens[:, 8 : task.first].unflatten(1, (40, 6))[..., 1:5]

    def right(answer):
        answers = tokens[:, task.first :].unflatten(1, (40, 4))
        other = torch.where(twice[..., None], answer, answers).flatten(1)
        return task.correct(torch.cat([tokens[:, : task.first], other], 1))

    assert right(p).all()
    assert right(p.flip(-1)).all()
    mixed = torch.cat([p[..., :2], p.flip(-1)[..., 2:]], -1)
    same = (mixed == p).all(-1) | (mixed == p.flip(-1)).all(-1)
    assert torch.equal(right(mixed), ~twice | same)
    assert not right(mixed).all()


def test_edges_stay_inside_their_question_and_follow_its_kind(larger, texts):
    task, tokens = texts
    dependent, together = task.edges(tokens)
    assert torch.equal(dependent, dependent.mT)
    assert not (dependent & ~together).any()
    of_question = dependent.unflatten(1, (40, 4)).sum((2, 3))  # both directions
    kind = task.kinds(tokens)
    p = tokens[:, 8 : task.first].unflatten(1, (40, 6))[..., 1:5]
    # A phrasing of which both halves differ has all pairs, of which one does a single one.
    twice = torch.tensor([0, 2, 12])[(p != p.flip(-1)).sum(-1) // 2]
    expected = torch.tensor([0, 0, 0, 4, 0])[kind] + twice * (kind == 4)
    assert torch.equal(of_question, expected)


def test_the_tap_hears_every_layer_of_the_grouped_queries(larger):
    model = larger.train.new_model(questions=3).eval()
    task = model.task
    ids = task.prompt(task.sample(2, torch.Generator().manual_seed(1)))
    tap = AttentionTap(model, 1.0, apart=True)
    with tap(masked_positions(ids, task.mask_token_id, capacity=12)):
        logits = model(ids).logits
    assert logits.shape == (2, task.length, len(task.vocab))
    assert tap.scores.shape == (6, 2, 12, 12)
    assert (tap.scores > 0).all()
    assert (tap.scores.sum(-1) < 1).all()  # the prompt gets the rest


def test_positions_of_other_questions_are_only_distances(larger):
    """A text of few questions is the beginning of one of many: same weights, same rotations."""
    model = larger.train.new_model(questions=6)
    few = model.asked(2)
    assert few.task.length == 8 + 2 * 10
    assert torch.equal(few.task.place[: few.task.first], model.task.place[: few.task.first])
    assert few.head.weight is model.head.weight
    with pytest.raises(ValueError, match="must have 28 positions"):
        few(torch.zeros(1, 30, dtype=torch.int64))


def test_auc_counts_ties_half(larger):
    auc = larger.evaluate.auc
    assert auc(torch.tensor([2.0, 3.0]), torch.tensor([1.0, 0.0])) == 1.0
    assert auc(torch.tensor([1.0]), torch.tensor([1.0, 0.0])) == 0.75


def test_pipeline_writes_resumes_and_reports(larger, tmp_path, capsys):
    where = ["--cache", tmp_path / "cache", "--results", tmp_path / "out" / "larger.json"]
    small = ["--questions", "9", "--hidden", "16", "--layers", "2", "--at-once", "9"]
    known = [*where, *small, "--count", "4", "--minutes", "9", "--pictures", tmp_path / "pictures"]
    arguments = [str(each) for each in [*known, "--steps", "2"]]
    larger.run.main(arguments)
    first = json.loads((tmp_path / "out" / "larger.json").read_text())
    assert first["trained"]["step"] == 2
    one = next(row for row in first["rows"] if row["strategy"] == "one per step")
    assert one["steps"] == 36
    assert sorted(path.name for path in (tmp_path / "pictures").iterdir()) == [
        "larger_decoding.png",
        "larger_layers.png",
    ]
    larger.run.main([*arguments, "--resume"])
    again = json.loads((tmp_path / "out" / "larger.json").read_text())
    assert again == first  # decoded rows, with their seconds, were read and not made anew
    larger.run.main([*arguments[:-1], "3", "--resume"])
    assert json.loads((tmp_path / "out" / "larger.json").read_text())["trained"]["step"] == 3
    assert "one per step" in capsys.readouterr().out


def test_section_says_what_the_committed_results_hold(larger):
    results = json.loads((ROOT / "benchmarks/results/quality/larger.json").read_text())
    text = larger.report.section(results)
    assert (results["prompt"], results["answers"]) == (200, 128)
    for row in results["rows"]:
        assert f"| {row['strategy']} |" in text
    one = next(row for row in results["rows"] if row["strategy"] == "one per step")
    assert one["steps"] == 128
    assert f"gets {one['score']:.3f} of the questions right" in text
