"""Five independent questions in one sequence, each ``[kind p1 p2 | a1 a2 a3 a4]`` on digits.

    copy   p2 p1 p1 p2                            one right answer
    add    the tens and ones of p1 + p2, then the larger and the smaller of the two
    split  a1 + a2 = p1 and a3 + a4 = p2          many right answers
    twice  p1 p2 p1 p2, or just as well p2 p1 p2 p1

The answers to one question depend on each other, those to different questions never do. An
ideal decoder therefore answers all five in the steps that the most uncertain of them needs.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from unmask.toy.task import Task

__all__ = ["Questions"]

KINDS = {"C": "copy", "A": "add", "S": "split", "T": "twice"}
LETTERS = "".join(KINDS)
DIGITS = 10
QUESTIONS = 5
PROMPT = 3  # kind, p1, p2
SLOTS = 7  # the prompt and four answers


class Questions(Task):
    """Conditional generation: the prompts are given, the 20 answer slots start masked."""

    name = "questions"
    temperature = 0.0

    def __init__(self) -> None:
        words = [*(str(digit) for digit in range(DIGITS)), *KINDS.values()]
        slot = torch.arange(QUESTIONS * SLOTS) % SLOTS
        super().__init__(words, slot >= PROMPT, slots=SLOTS)

    def sample(
        self, count: int, generator: torch.Generator, kinds: str | Sequence[str] = LETTERS
    ) -> Tensor:
        """Draw questions, each with one of its right answers: int64 [count, 35].

        Args:
            count: sequences to draw.
            generator: where the randomness comes from.
            kinds: the first letters of the kinds to draw from: "ST" gives uncertain answers
                only, "CA" deterministic ones. Five such strings set every question apart.

        Raises:
            ValueError: a letter is not one of C, A, S and T, or there are not five strings.
        """
        device = generator.device
        kind = torch.stack([_draw(letters, count, generator) for letters in _apart(kinds)], dim=1)
        p = torch.randint(DIGITS, (count, QUESTIONS, 2), generator=generator, device=device)
        part = (torch.rand(p.shape, generator=generator, device=device) * (p + 1)).long()
        swap = torch.rand(count, QUESTIONS, 1, generator=generator, device=device) < 0.5

        split = torch.stack([part, p - part], dim=-1).flatten(-2)
        twice = torch.where(swap, _twice(p.flip(-1)), _twice(p))
        of_kind = torch.stack([_copy(p), _add(p), split, twice], dim=2)
        answer = of_kind.take_along_dim(kind[..., None, None], dim=2).squeeze(2)
        return torch.cat([DIGITS + kind.unsqueeze(-1), p, answer], dim=-1).flatten(1)

    def correct(self, tokens: Tensor) -> Tensor:
        """Which questions are answered correctly: [count, 35] -> bool [count, 5]."""
        question = tokens.reshape(-1, QUESTIONS, SLOTS)
        kind, p, answer = question[..., :1], question[..., 1:PROMPT], question[..., PROMPT:]
        right = {
            "C": (answer == _copy(p)).all(-1),
            "A": (answer == _add(p)).all(-1),
            "S": (answer[..., ::2] + answer[..., 1::2] == p).all(-1),
            "T": (answer == _twice(p)).all(-1) | (answer == _twice(p.flip(-1))).all(-1),
        }
        asked = kind == DIGITS + torch.arange(len(KINDS), device=tokens.device)
        in_digits = (answer < DIGITS).all(-1)
        return (torch.stack([right[letter] for letter in LETTERS], -1) & asked).any(-1) & in_digits

    def score(self, tokens: Tensor) -> Tensor:
        """The fraction of the five questions answered correctly."""
        return self.correct(tokens).float().mean(-1)

    def decode(self, row: Tensor) -> str:
        """Every question with its answer: "split 4 9 -> 2 2 4 5 | ..."."""
        words = self.words(row)
        return " | ".join(
            f"{' '.join(words[start : start + PROMPT])} -> "
            f"{' '.join(words[start + PROMPT : start + SLOTS])}"
            for start in range(0, len(words), SLOTS)
        )


def _apart(kinds: str | Sequence[str]) -> list[str]:
    """The letters allowed for each of the five questions."""
    each = [kinds] * QUESTIONS if isinstance(kinds, str) else list(kinds)
    known = all(letters and set(letters) <= set(KINDS) for letters in each)
    if len(each) != QUESTIONS or not known:
        raise ValueError(
            f"kinds must be letters of {LETTERS!r}, or {QUESTIONS} strings of them, got {kinds!r}"
        )
    return each


def _draw(letters: str, count: int, generator: torch.Generator) -> Tensor:
    """Pick one of the letters for each sequence, as its place among all kinds: [count]."""
    device = generator.device
    place = torch.tensor([LETTERS.index(letter) for letter in letters], device=device)
    return place[torch.randint(len(letters), (count,), generator=generator, device=device)]


# The kinds with a fixed answer: the two digits of each question, [..., 2] -> [..., 4].


def _copy(p: Tensor) -> Tensor:
    return torch.cat([p.flip(-1), p], dim=-1)


def _add(p: Tensor) -> Tensor:
    total = p.sum(-1)
    return torch.stack([total // 10, total % 10, p.amax(-1), p.amin(-1)], dim=-1)


def _twice(p: Tensor) -> Tensor:
    return torch.cat([p, p], dim=-1)
