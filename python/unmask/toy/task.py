"""What every toy task can do: draw sequences, hide the part to generate, judge the result."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["MASK_WORD", "Task"]

MASK_WORD = "[MASK]"


class Task(ABC):
    """A language of fixed-length sequences whose dependencies are known by construction.

    Attributes:
        name: what ``unmask.toy.load`` and the training command call it.
        vocab: the words, in the order of their token ids; the mask is the last one.
        length: positions in a sequence.
        slots: positions in one of the equal blocks a sequence consists of (``length`` if it is
            all one), which is how the model numbers its positions.
        generated: [length] bool, the positions a model has to fill in.
        temperature: the one the task is meant to be decoded with. An unconditional task is
            sampled, for its most probable sequence would always be the same; questions are
            answered greedily.
    """

    name: str
    temperature: float

    def __init__(self, words: Sequence[str], generated: Tensor, slots: int) -> None:
        self.vocab = [*words, MASK_WORD]
        self.generated = generated
        self.length = len(generated)
        self.slots = slots

    @property
    def mask_token_id(self) -> int:
        """The token that stands for a word not generated yet."""
        return len(self.vocab) - 1

    @abstractmethod
    def sample(self, count: int, generator: torch.Generator) -> Tensor:
        """Draw complete, correct sequences: int64 [count, length] on the generator's device."""

    @abstractmethod
    def score(self, tokens: Tensor) -> Tensor:
        """How right each sequence is, from 0 to 1: [count, length] -> float32 [count].

        A mask left over is simply a wrong word.
        """

    def prompt(self, tokens: Tensor) -> Tensor:
        """Hide what is to be generated behind masks: [count, length] -> [count, length]."""
        return tokens.masked_fill(self.generated.to(tokens.device), self.mask_token_id)

    def decode(self, row: Tensor) -> str:
        """One sequence, [length], as readable text."""
        return " ".join(self.words(row))

    def words(self, row: Tensor) -> list[str]:
        """The word at every position of one sequence, a blank for each mask."""
        return ["___" if t == self.mask_token_id else self.vocab[t] for t in row.tolist()]
