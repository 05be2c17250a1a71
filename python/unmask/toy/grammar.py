"""Sentences of three clauses: "he plays chess and we eat soup and they read poems".

The verb agrees with its subject, the object belongs to its verb, and every word is otherwise
as likely as any other. That is the marginal trap: with everything masked each word on its own
is plausible, yet a verb and an object drawn independently match only one time in three.
"""

from itertools import product

import torch
from torch import Tensor
from torch.nn.functional import pad

from unmask.toy.task import Task

__all__ = ["Grammar"]

SINGULAR = ["he", "she", "Ada"]  # third person: the verb takes its -s
PLAIN = ["I", "we", "they"]
OBJECTS = {
    ("plays", "play"): ["chess", "cards", "tennis"],
    ("eats", "eat"): ["soup", "rice", "bread"],
    ("reads", "read"): ["poems", "novels", "comics"],
}
CONJUNCTION = "and"
CLAUSES = 3
STRIDE = 4  # subject, verb, object, conjunction
LENGTH = CLAUSES * STRIDE - 1  # nothing is joined to the last clause


class Grammar(Task):
    """Unconditional generation: every position starts masked."""

    name = "grammar"
    temperature = 1.0

    def __init__(self) -> None:
        verbs = [form for forms in OBJECTS for form in forms]
        objects = [word for words in OBJECTS.values() for word in words]
        words = [*SINGULAR, *PLAIN, *verbs, *objects, CONJUNCTION]
        super().__init__(words, torch.ones(LENGTH, dtype=torch.bool), slots=LENGTH)
        self._id = {word: token for token, word in enumerate(self.vocab)}
        self._clauses = self._all_clauses()
        self._valid = torch.zeros((len(self.vocab),) * 3, dtype=torch.bool)
        self._valid[tuple(self._clauses.T)] = True

    def _all_clauses(self) -> Tensor:
        """Every correct clause: [subjects * verbs * objects of a verb, 3]."""
        clauses = [
            (subject, form, obj)
            for (singular, plain), objects in OBJECTS.items()
            for subjects, form in ((SINGULAR, singular), (PLAIN, plain))
            for subject, obj in product(subjects, objects)
        ]
        return torch.tensor([[self._id[word] for word in clause] for clause in clauses])

    def sample(self, count: int, generator: torch.Generator) -> Tensor:
        """Draw sentences uniformly: int64 [count, 11]."""
        device = generator.device
        clauses = self._clauses.to(device)
        pick = torch.randint(len(clauses), (count, CLAUSES), generator=generator, device=device)
        joint = torch.full((count, CLAUSES, 1), self._id[CONJUNCTION], device=device)
        return torch.cat([clauses[pick], joint], dim=-1).flatten(1)[:, :LENGTH].contiguous()

    def score(self, tokens: Tensor) -> Tensor:
        """1 for a sentence whose clauses are all correct and joined, else 0."""
        joint = self._id[CONJUNCTION]
        closed = pad(tokens, (0, 1), value=joint)  # as if the last clause were joined to one more
        subject, verb, obj, link = closed.view(-1, CLAUSES, STRIDE).unbind(-1)
        valid = self._valid.to(tokens.device)[subject, verb, obj] & (link == joint)
        return valid.all(-1).float()

    def edges(self) -> Tensor:
        """Which positions depend on each other given all the rest: bool [11, 11], symmetric."""
        adjacent = torch.zeros(LENGTH, LENGTH, dtype=torch.bool)
        for verb in range(1, LENGTH, STRIDE):  # a subject reaches its object through the verb
            adjacent[verb, [verb - 1, verb + 1]] = True
        return adjacent | adjacent.T
