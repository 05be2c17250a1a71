"""The trained models: shipped, or trained here once and kept."""

import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from unmask import toy
from unmask.toy.train import RECIPES, new_model, train

from quality.cells import Cache

SNAPSHOTS = (250, 500, 1000)  # of a longer training, so that its learning rate is still high there


@dataclass(frozen=True)
class Training:
    """One training; without steps, the checkpoint that comes with the package."""

    task: str
    seed: int
    steps: int | None

    def name(self, at: int) -> str:
        """File of the model as it is after so many steps."""
        size = "-".join(str(value) for value in asdict(RECIPES[self.task]).values())
        return f"{self.task}-{size}-seed{self.seed}-steps{self.steps}-at{at}.safetensors"

    def done(self, cache: Cache) -> bool:
        """Whether there is nothing left to train."""
        return self.steps is None or (cache.models / self.name(self.steps)).exists()

    def run(self, cache: Cache, tick: Callable[[], None]) -> None:
        """Train, and keep the model at the snapshots and at the end; ``tick`` hears every step."""
        assert self.steps is not None, "a shipped checkpoint is not trained"
        task, steps = toy.TASKS[self.task], self.steps
        model = new_model(task, self.seed)

        def keep(at: int) -> None:
            path = cache.models / self.name(at)
            beside = path.with_name(f"{path.name}.{os.getpid()}.part")
            model.save(beside, task=task.name, steps=str(at), seed=str(self.seed))
            beside.replace(path)

        def report(step: int, _: float) -> None:
            tick()
            if step in SNAPSHOTS and step < steps:
                keep(step)

        train(model, task, steps, self.seed, report)
        keep(steps)


def training_of(model: dict[str, Any]) -> Training:
    """The training that a cell's "model" setting names."""
    return Training(model["task"], model["seed"], model["steps"])


def load(model: dict[str, Any], cache: Cache) -> tuple[toy.MaskedTransformer, toy.Task]:
    """The model of a cell's settings and its task."""
    training = training_of(model)
    path: Path | None = None
    if training.steps is not None:
        path = cache.models / training.name(model.get("at") or training.steps)
    return toy.load(training.task, path)
