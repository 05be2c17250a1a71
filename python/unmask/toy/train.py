"""Train a toy model: ``python -m unmask.toy.train grammar``, ``questions`` or ``sums``.

The objective is that of masked diffusion: hide each word to be generated with a probability
drawn anew for every sequence, and predict the hidden words from the rest.
"""

import argparse
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from torch import Tensor
from torch.nn.functional import cross_entropy

from unmask.toy import TASKS
from unmask.toy.model import MaskedTransformer, ModelConfig
from unmask.toy.task import Task

__all__ = ["RECIPES", "Recipe", "decode_one_by_one", "main", "new_model", "train"]

LEARNING_RATE: Final = 1e-3
BETAS: Final = (0.9, 0.98)
WEIGHT_DECAY: Final = 0.01
WARM_UP: Final = 100  # steps; a tenth of the training when that is shorter
FINAL_RATE: Final = 0.05  # of the learning rate, where the cosine ends
CLIP: Final = 1.0
LEAST_NOISE: Final = 0.001
FRESH: Final = 400  # sequences the trained model is judged on
FRESH_SEED: Final = 2**31  # the seeds of trainings stay below it
SMOOTH: Final = 50  # steps over which the loss on display is averaged


@dataclass(frozen=True)
class Recipe:
    """The size of a task's model and how long it is trained."""

    hidden_size: int
    num_hidden_layers: int
    steps: int
    batch: int


RECIPES: Final = {
    "grammar": Recipe(hidden_size=64, num_hidden_layers=1, steps=2000, batch=128),
    "questions": Recipe(hidden_size=96, num_hidden_layers=3, steps=2000, batch=64),
    "sums": Recipe(hidden_size=64, num_hidden_layers=3, steps=2000, batch=256),
}


def new_model(task: Task, seed: int = 0) -> MaskedTransformer:
    """An untrained model of the size the task needs; the global random state is left alone."""
    recipe = RECIPES[task.name]
    config = ModelConfig(
        vocab_size=len(task.vocab),
        mask_token_id=task.mask_token_id,
        length=task.length,
        slots=task.slots,
        hidden_size=recipe.hidden_size,
        num_hidden_layers=recipe.num_hidden_layers,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return MaskedTransformer(config)


def train(
    model: MaskedTransformer,
    task: Task,
    steps: int | None = None,
    seed: int = 0,
    report: Callable[[int, float], None] = lambda step, loss: None,
) -> list[float]:
    """Train in place, on the CPU, and leave the model in evaluation mode.

    Args:
        model: of ``new_model``.
        task: where the sequences come from.
        steps: optimiser steps, as the recipe says if None.
        seed: of the sequences and their masks.
        report: called after every step with its number, from 1, and its loss.

    Returns:
        The loss of every step.
    """
    recipe = RECIPES[task.name]
    steps = recipe.steps if steps is None else steps
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=LEARNING_RATE, betas=BETAS, weight_decay=WEIGHT_DECAY
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(step, steps))
    losses = []
    model.train()
    for step in range(1, steps + 1):
        loss = _loss(model, task, task.sample(recipe.batch, generator), generator)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
        report(step, losses[-1])
    model.eval()
    return losses


def _rate(step: int, steps: int) -> float:
    """The share of the learning rate at a step: up in a line, down in a cosine."""
    warm_up = max(1, min(WARM_UP, steps // 10))
    if step < warm_up:
        return (step + 1) / warm_up
    progress = (step - warm_up) / max(1, steps - warm_up)
    return FINAL_RATE + (1 - FINAL_RATE) * 0.5 * (1 + math.cos(math.pi * progress))


def _loss(
    model: MaskedTransformer, task: Task, tokens: Tensor, generator: torch.Generator
) -> Tensor:
    """Cross entropy at the hidden words. Every one weighs the same, whatever the noise was."""
    noise = torch.rand(len(tokens), 1, generator=generator)
    noise = LEAST_NOISE + (1 - LEAST_NOISE) * noise
    hidden = (torch.rand(tokens.shape, generator=generator) < noise) & task.generated
    logits = model(tokens.masked_fill(hidden, task.mask_token_id)).logits
    return cross_entropy(logits[hidden], tokens[hidden])


@torch.no_grad()
def decode_one_by_one(
    model: MaskedTransformer, task: Task, tokens: Tensor, generator: torch.Generator
) -> Tensor:
    """Fill the masks of [batch, length], in every forward pass the surest of each sequence.

    The slow decoding that all parallel ones are measured against. A word is drawn at the
    temperature of the task, and how sure it is means its probability.
    """
    tokens = tokens.clone()
    rows = torch.arange(len(tokens))
    for _ in range(int((tokens == task.mask_token_id).sum(1).max())):
        masked = tokens == task.mask_token_id
        probability = model(tokens).logits.softmax(-1)
        if task.temperature == 0:
            word = probability.argmax(-1)
        else:
            tempered = (probability ** (1 / task.temperature)).flatten(0, 1)
            word = tempered.multinomial(1, generator=generator).view_as(tokens)
        sure = probability.take_along_dim(word.unsqueeze(-1), -1).squeeze(-1)
        position = sure.masked_fill(~masked, -1.0).argmax(-1)
        open_rows = masked.any(-1)
        at = rows[open_rows], position[open_rows]
        tokens[at] = word[at]
    return tokens


def fresh_score(model: MaskedTransformer, task: Task) -> float:
    """The mean score of one-by-one decoding, on sequences drawn from a seed of their own."""
    generator = torch.Generator().manual_seed(FRESH_SEED)
    prompts = task.prompt(task.sample(FRESH, generator))
    return task.score(decode_one_by_one(model, task, prompts, generator)).mean().item()


def train_with_bar(
    model: MaskedTransformer, task: Task, steps: int, seed: int, console: Console
) -> None:
    """``train``, with a progress bar that shows the loss."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("loss {task.fields[loss]:.4f}"),
    )
    with Progress(*columns, console=console) as progress:
        bar = progress.add_task(task.name, total=steps, loss=math.nan)
        shown = 0.0

        def report(step: int, loss: float) -> None:
            nonlocal shown
            shown += (loss - shown) / min(step, SMOOTH)
            progress.update(bar, completed=step, loss=shown)

        train(model, task, steps, seed, report)


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line; ``arguments`` are those of the process if None."""
    parser = argparse.ArgumentParser(
        prog="python -m unmask.toy.train", description="Train a small masked diffusion model."
    )
    parser.add_argument("task", choices=list(TASKS), help="what the model is to learn")
    parser.add_argument("--steps", type=int, help="optimiser steps (default: enough for the task)")
    parser.add_argument("--seed", type=int, default=0, help="of weights and data (default: 0)")
    parser.add_argument("--out", type=Path, help="file to write (default: TASK.safetensors)")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads (default: 2)")
    args = parser.parse_args(arguments)
    steps = RECIPES[args.task].steps if args.steps is None else args.steps
    if steps < 1 or args.threads < 1 or not 0 <= args.seed < FRESH_SEED:
        parser.error("--steps and --threads must be at least 1, --seed in [0, 2^31)")

    torch.set_num_threads(args.threads)
    console = Console(highlight=False, soft_wrap=True)
    task = TASKS[args.task]
    out = args.out or Path(f"{task.name}.safetensors")
    model = new_model(task, args.seed)
    train_with_bar(model, task, steps, args.seed, console)
    model.save(out, task=task.name, steps=str(steps), seed=str(args.seed))

    score = fresh_score(model, task)
    console.print(f"one token per step: {score:.1%} right on {FRESH} fresh sequences")
    console.print(f"saved {out}; read it with unmask.toy.load({task.name!r}, {str(out)!r})")
    console.print("next: unmask demo")


if __name__ == "__main__":
    main()
