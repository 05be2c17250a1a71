"""How well and how fast a strategy decodes a toy task: the one judge of demo, tests and plots."""

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from unmask.generate import generate
from unmask.strategies import (
    DAPD,
    KLASS,
    EntropyBound,
    Factor,
    Strategy,
    Threshold,
    TopConfidence,
)
from unmask.toy.model import MaskedTransformer
from unmask.toy.task import Task

__all__ = ["Result", "competitors", "evaluate"]


@dataclass(frozen=True)
class Result:
    """One strategy on one set of prompts.

    Attributes:
        strategy: its name in the table.
        steps: forward passes per sequence, averaged.
        score: mean of ``task.score``, from 0 to 1.
        seconds: wall time of the whole batch on this machine.
    """

    strategy: str
    steps: float
    score: float
    seconds: float

    def to_dict(self) -> dict[str, str | float]:
        """Ready for JSON."""
        return asdict(self)


def evaluate(
    name: str,
    strategy: Strategy,
    model: MaskedTransformer,
    task: Task,
    prompts: Tensor,
    *,
    seed: int = 0,
) -> Result:
    """Decode all prompts, [count, length] with masks, in one batch and judge the answers."""
    start = time.perf_counter()
    output = generate(
        model,
        prompts,
        max_new_tokens=0,
        strategy=strategy,
        temperature=task.temperature,
        seed=seed,
    )
    seconds = time.perf_counter() - start
    return Result(
        strategy=name,
        steps=output.steps.float().mean().item(),
        score=task.score(output.sequences).mean().item(),
        seconds=seconds,
    )


def competitors(task: Task) -> Mapping[str, Strategy]:
    """The strategies to compare on a task, the published settings first.

    DAPD's presets appear twice: as published (the last 30 % of the layers) and reading layer 0,
    where models this small keep their dependencies.
    """
    table: dict[str, Strategy] = {
        "one per step": TopConfidence(),
        "Threshold(0.9)": Threshold(),
        "Factor(1.0)": Factor(),
        "EntropyBound(0.1)": EntropyBound(),
        "KLASS(0.9, 0.01)": KLASS(),
        "DAPD.staged()": DAPD.staged(),
        "DAPD.direct()": DAPD.direct(),
        "DAPD.confident_first()": DAPD.confident_first(),
    }
    if task.name == "grammar":  # one layer: nothing to choose, but a threshold fitted to it
        table["all at once"] = TopConfidence(tokens_per_step=task.length)
        table["DAPD, raw edges > 0.14"] = calibrated(task)
    else:
        table["DAPD.staged(layers=[0])"] = DAPD.staged(layers=[0])
        table["DAPD.direct(layers=[0])"] = DAPD.direct(layers=[0])
        table["DAPD.confident_first(layers=[0])"] = DAPD.confident_first(layers=[0])
    return table


def calibrated(task: Task) -> DAPD:
    """DAPD with the threshold that separates edges from non-edges in the shipped checkpoint."""
    if task.name == "grammar":
        return DAPD.confident_first(edge="raw", tau_min=0.14, tau_max=0.14, layers=[0])
    return DAPD.direct(layers=[0])


def prompts(task: Task, count: int, seed: int, **kinds: str) -> Tensor:
    """Held-out prompts: int64 [count, length], the generated part masked."""
    generator = torch.Generator().manual_seed(10_000 + seed)  # training draws from its own seeds
    return task.prompt(task.sample(count, generator, **kinds))
