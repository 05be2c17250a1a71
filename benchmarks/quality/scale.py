"""How much of everything: the real thing, and the same in seconds for tests."""

from dataclasses import dataclass
from typing import Any

SHIPPED = {("grammar", 0), ("questions", 0)}  # checkpoints that come with the package


@dataclass(frozen=True)
class Scale:
    """Seeds, training steps, and sequences per cell."""

    seeds: tuple[int, ...]
    steps: int  # of a training
    snapshots: tuple[int, ...]  # at which the graph of the sums is looked at
    sums: int
    grammar: int
    questions: int
    ablation: int
    scaling: int
    settings: int | None  # of each strategy's grid; None: all
    length: int  # of the laws that schedules are tried on
    constants: int  # longest sequence in the table of constants

    def model(self, task: str, seed: int, at: int | None = None) -> dict[str, Any]:
        """The "model" setting of a cell."""
        steps = None if (task, seed) in SHIPPED else self.steps
        return {"task": task, "seed": seed, "steps": steps, "at": at}

    def count(self, task: str) -> int:
        """Sequences per cell."""
        return {"sums": self.sums, "grammar": self.grammar, "questions": self.questions}[task]


FULL = Scale(
    seeds=(0, 1, 2),
    steps=2000,
    snapshots=(250, 500, 1000, 2000),
    sums=400,
    grammar=500,
    questions=120,
    ablation=120,
    scaling=80,
    settings=None,
    length=2000,
    constants=256,
)

TINY = Scale(
    seeds=(0,),
    steps=4,
    snapshots=(4,),
    sums=4,
    grammar=4,
    questions=2,
    ablation=2,
    scaling=2,
    settings=1,
    length=40,
    constants=8,
)
