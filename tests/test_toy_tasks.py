"""The toy tasks draw what they say, and judge what they draw."""

import pytest
import torch
from unmask.toy import Grammar, Questions, Sums, Task


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_draws_only_correct_sequences(task: Task) -> None:
    tokens = task.sample(500, generator())
    assert tokens.shape == (500, task.length)
    assert tokens.dtype == torch.int64
    assert tokens.min() >= 0
    assert tokens.max() < task.mask_token_id
    assert (task.score(tokens) == 1).all()


def test_a_seed_fixes_what_is_drawn(task: Task) -> None:
    first = task.sample(50, generator(3))
    assert torch.equal(first, task.sample(50, generator(3)))
    assert not torch.equal(first, task.sample(50, generator(4)))


def test_the_words_of_a_task_are_distinct_and_end_with_the_mask(task: Task) -> None:
    assert len(set(task.vocab)) == len(task.vocab)
    assert task.vocab[task.mask_token_id] == "[MASK]"
    assert task.mask_token_id == len(task.vocab) - 1


@pytest.mark.parametrize("unconditional", [Grammar(), Sums()], ids=lambda task: task.name)
def test_a_prompt_without_conditions_is_all_masks(unconditional: Task) -> None:
    tokens = unconditional.sample(4, generator())
    assert (unconditional.prompt(tokens) == unconditional.mask_token_id).all()


def test_a_question_hides_its_four_answers_and_nothing_else() -> None:
    task = Questions()
    tokens = task.sample(100, generator())

    prompt = task.prompt(tokens)

    hidden = prompt == task.mask_token_id
    assert hidden.sum(1).eq(20).all()
    assert hidden.unflatten(1, (5, 7)).all(0).tolist() == [[False] * 3 + [True] * 4] * 5
    assert torch.equal(prompt[~hidden], tokens[~hidden])


def test_a_mask_left_over_is_wrong(task: Task) -> None:
    tokens = task.sample(20, generator())
    for position in task.generated.nonzero().flatten().tolist():
        holed = tokens.clone()
        holed[:, position] = task.mask_token_id
        assert (task.score(holed) < 1).all()
    assert (task.score(task.prompt(tokens)) == 0).all()


def test_a_conjunction_out_of_place_is_wrong() -> None:
    task = Grammar()
    tokens = task.sample(50, generator())
    conjunction = tokens[0, 3]
    for position in range(task.length):
        broken = tokens.clone()
        broken[:, position] = conjunction if position % 4 != 3 else tokens[:, 0]
        assert (task.score(broken) == 0).all()


@pytest.mark.parametrize(
    ("sentence", "right"),
    [
        ("he plays chess and we eat soup and they read poems", True),
        ("he play chess and we eat soup and they read poems", False),
        ("he plays chess and we eats soup and they read poems", False),
        ("he plays soup and we eat soup and they read poems", False),
        ("he plays chess and we eat soup and they read they", False),
    ],
)
def test_grammar_knows_its_language(sentence: str, right: bool) -> None:
    task = Grammar()
    row = torch.tensor([task.vocab.index(word) for word in sentence.split()])
    assert task.score(row[None]).tolist() == [float(right)]
    assert task.decode(row) == sentence


def test_independent_words_fall_into_the_trap() -> None:
    """Every marginal is right when columns are shuffled apart, and hardly a sentence is."""
    task = Grammar()
    tokens = task.sample(4000, generator())
    order = torch.rand(tokens.shape, generator=generator(1)).argsort(0)
    assert task.score(tokens.take_along_dim(order, 0)).mean() < 0.01  # (1/3 * 1/2)^3 = 0.005


def test_any_single_change_breaks_a_sum() -> None:
    task = Sums()
    tokens = task.sample(100, generator())
    for position in range(task.length):
        broken = tokens.clone()
        broken[:, position] = (broken[:, position] + 1) % 3
        assert (task.score(broken) == 0).all()


@pytest.mark.parametrize(
    ("question", "answers", "wrong"),
    [
        ("copy 3 8", ["8 3 3 8"], ["3 8 8 3", "8 3 3 3"]),
        ("add 7 5", ["1 2 7 5"], ["1 2 5 7", "0 2 7 5"]),
        ("split 4 9", ["0 4 9 0", "2 2 4 5"], ["2 2 4 4", "9 0 2 2"]),
        ("twice 1 6", ["1 6 1 6", "6 1 6 1"], ["1 6 6 1", "1 1 6 6"]),
    ],
)
def test_questions_know_their_answers(question: str, answers: list[str], wrong: list[str]) -> None:
    task = Questions()

    def correct(answer: str) -> bool:
        words = f"{question} {answer}".split() * 5
        tokens = torch.tensor([[task.vocab.index(word) for word in words]])
        assert task.decode(tokens[0]).split(" | ")[0] == f"{question} -> {answer}"
        found = task.correct(tokens)
        assert found.shape == (1, 5)
        assert task.score(tokens).item() == found.float().mean().item()
        return bool(found.all())

    assert all(correct(answer) for answer in answers)
    assert not any(correct(answer) for answer in wrong)


def test_each_question_counts_a_fifth() -> None:
    task = Questions()
    tokens = task.sample(30, generator())
    tokens[:, [3, 10]] = task.mask_token_id  # the first answers of two of the five
    assert task.score(tokens).tolist() == pytest.approx([0.6] * 30)


@pytest.mark.parametrize(
    ("kinds", "expected"),
    [
        ("CAST", [{"copy", "add", "split", "twice"}] * 5),
        ("ST", [{"split", "twice"}] * 5),
        ("CA", [{"copy", "add"}] * 5),
        (["S", "T", "C", "A", "ST"], [{"split"}, {"twice"}, {"copy"}, {"add"}, {"split", "twice"}]),
    ],
)
def test_kinds_can_be_chosen(kinds: str | list[str], expected: list[set[str]]) -> None:
    task = Questions()
    tokens = task.sample(200, generator(), kinds=kinds)
    asked = [{task.vocab[t] for t in column} for column in tokens[:, ::7].T.tolist()]
    assert asked == expected
    assert (task.score(tokens) == 1).all()


@pytest.mark.parametrize("kinds", ["", "X", "CASt", ["S", "T"], ["C"] * 4 + [""]])
def test_unknown_kinds_are_refused(kinds: str | list[str]) -> None:
    with pytest.raises(ValueError, match="kinds must be letters of 'CAST', or 5 strings"):
        Questions().sample(1, generator(), kinds=kinds)


def test_uncertain_questions_have_many_answers() -> None:
    task = Questions()
    tokens = task.sample(2000, generator(), kinds="ST").view(-1, 7)
    asked = {tuple(row[:3]) for row in tokens.tolist()}
    assert len({tuple(row) for row in tokens.tolist()}) > 3 * len(asked)


@pytest.mark.parametrize(
    ("chain", "edges"), [(Grammar(), 6), (Sums(), 12)], ids=["grammar", "sums"]
)
def test_edges_are_a_graph(chain: Grammar | Sums, edges: int) -> None:
    adjacent = chain.edges()
    assert torch.equal(adjacent, adjacent.T)
    assert not adjacent.diagonal().any()
    assert adjacent.sum() == 2 * edges
