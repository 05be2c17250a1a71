"""Many short questions behind one long prompt: ``[header | questions | answers]`` on four digits.

The header, of 8 words, is a code: the digit that stands at place d is the code of d. Then come
the questions, of 6 words each: a kind, five digits p1..p5. Then four answers to each of them.

    reverse  p4 p3 p2 p1
    sum      p1 + p2, p2 + p3, p3 + p4, p4 + p5, all mod 4
    code     the codes of p1, p2, p3, p4, as the header has them
    split    a1 + a2 = p1 and a3 + a4 = p2 mod 4: every digit is as likely as any other everywhere
    twice    p1 p2 p3 p4 or, just as well, p4 p3 p2 p1

The first three have one right answer. In the last two, answers depend on each other: the two of a
sum, and all four of a phrasing. Answers to different questions never do.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from unmask.toy.task import Task

__all__ = ["KINDS", "LargerQuestions"]

KINDS = ("reverse", "sum", "code", "split", "twice")
UNCERTAIN = ("split", "twice")
DIGITS = 4
HEADER = 8  # the word "codes", four of them, and full stops
PROMPT = 6
ANSWERS = 4
PLACES = PROMPT + ANSWERS
SPLIT = ((0, 1), (2, 3))


class LargerQuestions(Task):
    """Questions that are all asked before the first is answered.

    Attributes:
        questions: how many; 32 make 200 prompt tokens and 128 answers.
        place: int64 [length], the rotary position of each token. A question and its answers stand
            next to each other there, although the answers come after all of the questions.
        slot: int64 [length], the role of each token, of ``HEADER + PLACES``.
    """

    name = "larger"
    temperature = 0.0

    def __init__(self, questions: int = 32) -> None:
        words = [*(str(digit) for digit in range(DIGITS)), *KINDS, "codes", "."]
        first = HEADER + questions * PROMPT
        length = first + questions * ANSWERS
        super().__init__(words, torch.arange(length) >= first, slots=length)
        self.questions, self.first = questions, first
        start = HEADER + PLACES * torch.arange(questions)
        role = torch.arange(PLACES).expand(questions, -1)
        place = start.unsqueeze(-1) + role
        header = torch.arange(HEADER)
        asked, answers = slice(0, PROMPT), slice(PROMPT, PLACES)
        self.place = torch.cat([header, place[:, asked].flatten(), place[:, answers].flatten()])
        roles = torch.cat([role[:, asked].flatten(), role[:, answers].flatten()])
        self.slot = torch.cat([header, HEADER + roles])

    def sample(
        self, count: int, generator: torch.Generator, kinds: Sequence[str] = KINDS
    ) -> Tensor:
        """Draw prompts of these kinds with one of their right answers: int64 [count, length]."""
        shape = (count, self.questions)
        of = torch.tensor([KINDS.index(kind) for kind in kinds])
        kind = of[torch.randint(len(kinds), shape, generator=generator)]
        p = torch.randint(DIGITS, (*shape, PROMPT - 1), generator=generator)
        codes = torch.rand(count, DIGITS, generator=generator).argsort(-1)
        stops = torch.full((count, HEADER - 1 - DIGITS), DIGITS + len(KINDS) + 1)
        free = torch.randint(DIGITS, (*shape, 2), generator=generator)
        swap = torch.rand(*shape, 1, generator=generator) < 0.5
        split = torch.stack([free, (p[..., :2] - free) % DIGITS], -1).flatten(-2)
        twice = torch.where(swap, p[..., :4].flip(-1), p[..., :4])
        of_kind = torch.stack([*_fixed(p, codes), split, twice], 2)
        answer = of_kind.take_along_dim(kind[..., None, None], 2).squeeze(2)
        asked = torch.cat([DIGITS + kind.unsqueeze(-1), p], -1)
        header = torch.cat([torch.full((count, 1), DIGITS + len(KINDS)), codes, stops], -1)
        return torch.cat([header, asked.flatten(1), answer.flatten(1)], -1)

    def kinds(self, tokens: Tensor) -> Tensor:
        """The kind of each question, as its place in ``KINDS``: int64 [count, questions]."""
        return self._asked(tokens)[..., 0] - DIGITS

    def correct(self, tokens: Tensor) -> Tensor:
        """Which questions are answered correctly: [count, length] -> bool [count, questions]."""
        asked = self._asked(tokens)
        p, kind = asked[..., 1:], asked[..., 0] - DIGITS
        answer = tokens[:, self.first :].unflatten(1, (self.questions, ANSWERS))
        fixed = _fixed(p, tokens[:, 1 : 1 + DIGITS])
        pairs = (answer[..., ::2] + answer[..., 1::2]) % DIGITS
        forward, back = p[..., :4], p[..., :4].flip(-1)
        right = [
            *((answer == one).all(-1) for one in fixed),
            (pairs == p[..., :2]).all(-1),
            (answer == forward).all(-1) | (answer == back).all(-1),
        ]
        of_kind = torch.stack(right, -1).take_along_dim(kind.unsqueeze(-1), -1).squeeze(-1)
        return of_kind & (answer < DIGITS).all(-1)

    def score(self, tokens: Tensor) -> Tensor:
        """The fraction of the questions answered correctly."""
        return self.correct(tokens).float().mean(-1)

    def edges(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Which answers depend on each other, given the prompt, and which share a question.

        Returns:
            Two times bool [count, answers, answers], symmetric: dependent; of one question.
        """
        asked = self._asked(tokens)
        p, kind = asked[..., 1 : 1 + ANSWERS], asked[..., 0] - DIGITS
        dependent = torch.zeros(*kind.shape, ANSWERS, ANSWERS, dtype=torch.bool)
        for a, b in SPLIT:
            split = kind == KINDS.index("split")
            dependent[..., a, b] |= split
            dependent[..., b, a] |= split
        # Where both phrasings have the same digit, nothing is left to depend on.
        differs = (p != p.flip(-1)) & (kind == KINDS.index("twice")).unsqueeze(-1)
        dependent |= differs.unsqueeze(-1) & differs.unsqueeze(-2)
        dependent &= ~torch.eye(ANSWERS, dtype=torch.bool)
        together = torch.block_diag(*[torch.ones(ANSWERS, ANSWERS)] * self.questions).bool()
        wide = dependent.flatten(1, 2).repeat(1, 1, self.questions)
        own = ~torch.eye(len(together), dtype=torch.bool)
        return wide & together, (together & own).expand(len(tokens), -1, -1)

    def _asked(self, tokens: Tensor) -> Tensor:
        return tokens[:, HEADER : self.first].unflatten(1, (self.questions, PROMPT))


def _fixed(p: Tensor, codes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The kinds with one right answer: p [count, questions, 5] -> each [count, questions, 4]."""
    coded = codes.unsqueeze(1).expand(-1, p.shape[1], -1).gather(-1, p[..., :4])
    return p[..., :4].flip(-1), (p[..., :-1] + p[..., 1:]) % DIGITS, coded
