"""Three small masked diffusion models that train in minutes, and the tasks they solve.

    >>> from unmask import toy
    >>> model, task = toy.load("grammar")
    >>> task.length, model.config.num_hidden_layers
    (11, 1)

They are real models with a known dependency structure: the place to see what a decoding
strategy does, because here every answer can be checked.
"""

from pathlib import Path
from typing import Final

from unmask.toy.grammar import Grammar
from unmask.toy.model import MaskedTransformer, ModelConfig
from unmask.toy.questions import Questions
from unmask.toy.sums import Sums
from unmask.toy.task import Task

__all__ = [
    "TASKS",
    "Grammar",
    "MaskedTransformer",
    "ModelConfig",
    "Questions",
    "Sums",
    "Task",
    "load",
]

TASKS: Final[dict[str, Task]] = {task.name: task for task in (Grammar(), Questions(), Sums())}
CHECKPOINTS: Final = Path(__file__).parent / "checkpoints"


def load(name: str, checkpoint: str | Path | None = None) -> tuple[MaskedTransformer, Task]:
    """The trained model of a task, in float32 on the CPU and in evaluation mode, and the task.

    Args:
        name: a key of ``TASKS``.
        checkpoint: a file written by ``python -m unmask.toy.train``; None reads the one that
            comes with the package.

    Raises:
        ValueError: no such task, or the checkpoint was trained for another vocabulary.
        FileNotFoundError: there is no such checkpoint. The package carries none for the sums,
            which are quickly trained.
    """
    if name not in TASKS:
        raise ValueError(f"name must be one of {', '.join(TASKS)}, got {name!r}")
    task = TASKS[name]
    path = CHECKPOINTS / f"{name}.safetensors" if checkpoint is None else Path(checkpoint)
    if not path.exists():
        raise FileNotFoundError(
            f"no checkpoint at {path}; train one with `python -m unmask.toy.train {name}` "
            f"and pass its file: load({name!r}, {name + '.safetensors'!r})"
        )
    model = MaskedTransformer.from_file(path)
    if (model.config.vocab_size, model.config.length) != (len(task.vocab), task.length):
        raise ValueError(
            f"checkpoint must hold a model of {len(task.vocab)} words and {task.length} "
            f"positions for the task {name!r}, got {model.config}"
        )
    return model.eval(), task
