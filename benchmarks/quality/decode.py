"""The cell that most experiments are made of: one strategy, one model, some prompts."""

from typing import Any

import torch
from torch import Tensor
from unmask import generate, toy
from unmask.strategies import WINO
from unmask.toy.evaluate import prompts

from quality import training
from quality.cells import Cache, Result, Settings
from quality.samplers import WithPlaces, build

SPLITS = {"validation": 1, "test": 2}  # seeds of prompts and draws; trainings have other ones


def decode(settings: Settings, cache: Cache) -> Result:
    """Decode and judge.

    Settings:
        model: of ``Scale.model``.
        board: {"task", "kinds"?, "asked"?}, see :func:`board_prompts`.
        split: "validation" or "test".
        count: sequences.
        sampler: a spec of ``samplers.build``.

    Returns:
        {"steps": forward passes of each sequence, "score": how right each is, from 0 to 1}.
    """
    model, task = training.load(settings["model"], cache)
    strategy = build(settings["sampler"])
    output = generate(
        WithPlaces(model) if isinstance(strategy, WINO) else model,
        board_prompts(settings["board"], task, settings["count"], SPLITS[settings["split"]]),
        max_new_tokens=0,
        strategy=strategy,
        temperature=task.temperature,
        seed=1000 * SPLITS[settings["split"]] + settings["model"]["seed"],
    )
    score = task.score(output.sequences)
    return {
        "steps": output.steps.tolist(),
        "score": [round(value, 4) for value in score.tolist()],
    }


def board_prompts(board: dict[str, Any], task: toy.Task, count: int, seed: int) -> Tensor:
    """Held-out prompts of a board: "kinds" of questions, and how many of the five are "asked"; the
    others are shown with their answers."""
    kinds = {"kinds": board["kinds"]} if "kinds" in board else {}
    if "asked" not in board:
        return prompts(task, count, seed, **kinds)
    answered = task.sample(count, torch.Generator().manual_seed(10_000 + seed), **kinds)
    upto = board["asked"] * task.slots
    shown = answered.clone()
    shown[:, :upto] = task.prompt(answered)[:, :upto]
    return shown
