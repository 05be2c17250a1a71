"""Five free numbers and the four sums of neighbours: Y_i = (X_i + X_{i+1}) mod 3.

The smallest task with a known Markov random field, after the toy of the DAPD paper
(arXiv 2603.12996): X_i, X_{i+1} and Y_i form a triangle. Any two corners of a triangle are
independent until the third is known, so the order in which positions are revealed matters.
"""

import torch
from torch import Tensor

from unmask.toy.task import Task

__all__ = ["Sums"]

MODULUS = 3
FREE = 5
LENGTH = 2 * FREE - 1


class Sums(Task):
    """Unconditional generation of X1..X5 Y1..Y4: every position starts masked."""

    name = "sums"
    temperature = 1.0

    def __init__(self) -> None:
        words = [str(digit) for digit in range(MODULUS)]
        super().__init__(words, torch.ones(LENGTH, dtype=torch.bool), slots=LENGTH)

    def sample(self, count: int, generator: torch.Generator) -> Tensor:
        """Draw X uniformly and add up: int64 [count, 9]."""
        x = torch.randint(MODULUS, (count, FREE), generator=generator, device=generator.device)
        return torch.cat([x, (x[:, :-1] + x[:, 1:]) % MODULUS], dim=1)

    def score(self, tokens: Tensor) -> Tensor:
        """1 where all four sums are right, else 0."""
        x, y = tokens[:, :FREE], tokens[:, FREE:]
        right = ((x[:, :-1] + x[:, 1:]) % MODULUS == y).all(-1)
        return (right & (tokens < MODULUS).all(-1)).float()

    def decode(self, row: Tensor) -> str:
        """The numbers and their sums: "X 0 2 1 1 0  Y 2 0 2 1"."""
        words = self.words(row)
        return f"X {' '.join(words[:FREE])}  Y {' '.join(words[FREE:])}"

    def edges(self) -> Tensor:
        """Which positions depend on each other given all the rest: bool [9, 9], symmetric."""
        adjacent = torch.zeros(LENGTH, LENGTH, dtype=torch.bool)
        for i in range(FREE - 1):
            triangle = torch.tensor([i, i + 1, FREE + i])
            adjacent[triangle[:, None], triangle] = True
        return adjacent.fill_diagonal_(False)
