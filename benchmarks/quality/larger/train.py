"""Training by the clock, on what machine there is, that can be interrupted and taken up again.

Masked diffusion, with a loss on hidden answers only. The questions grow in number while the
training goes on, at about as many questions per step: short sequences teach the rules cheaply,
long ones to find the own question among the others.
"""

import math
import os
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from safetensors import safe_open
from safetensors.torch import load_file, save
from torch import Tensor
from torch.nn.functional import cross_entropy

from quality.larger.model import Config, LargerModel
from quality.larger.task import LargerQuestions

LEAST_NOISE = 0.05
CLIP = 1.0
KEEP_EVERY = 60.0  # seconds between two snapshots


@dataclass(frozen=True)
class Recipe:
    """How to train.

    Attributes:
        minutes: of wall time, those of an interrupted training included.
        at_once: questions per optimiser step.
        growth: (share of the time from which on, questions per sequence), in order.
        ceiling: steps after which to stop although there is time.
    """

    minutes: float = 15.0
    at_once: int = 128
    growth: tuple[tuple[float, int], ...] = ((0.0, 4), (0.45, 8), (0.55, 16), (0.68, 32))
    rate: float = 5e-3
    last_rate: float = 0.02  # of the rate, at the end
    warm_up: int = 60
    seed: int = 0
    ceiling: int = 1_000_000

    def questions(self, share: float) -> int:
        """Per sequence, when that share of the time has passed."""
        return [number for start, number in self.growth if share >= start][-1]

    def rate_at(self, share: float, step: int) -> float:
        """The learning rate: up in a line of steps, down in a cosine of time."""
        cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, share)))
        lowered = self.last_rate + (1 - self.last_rate) * cosine
        return self.rate * lowered * min(1.0, (step + 1) / self.warm_up)


@dataclass
class Progressed:
    """How far a training has come."""

    step: int = 0
    seconds: float = 0.0
    questions: int = 0
    loss: float = math.nan


def train(
    model: LargerModel, recipe: Recipe, path: Path, *, resume: bool, console: Console
) -> Progressed:
    """Train in place and keep the newest weights at ``path``; evaluation mode afterwards."""
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=recipe.rate, betas=(0.9, 0.98), weight_decay=0.01
    )
    done = restore(model, optimizer, path) if resume else Progressed()
    models = {number: model.asked(number) for _, number in recipe.growth}
    generator = torch.Generator().manual_seed(recipe.seed + 1_000_003 * done.step)
    limit, kept, last = recipe.minutes * 60, done.seconds, time.perf_counter()
    model.train()
    with bar_of(console) as bar:
        row = bar.add_task("training", total=limit, completed=done.seconds, told="")
        while done.seconds < limit and done.step < recipe.ceiling:
            share = done.seconds / limit
            number = recipe.questions(share)
            for group in optimizer.param_groups:
                group["lr"] = recipe.rate_at(share, done.step)
            loss = learn(models[number], optimizer, recipe.at_once // number, generator)
            now = time.perf_counter()
            done.seconds, last = done.seconds + now - last, now
            done.step, done.questions = done.step + 1, done.questions + recipe.at_once
            done.loss = loss if math.isnan(done.loss) else done.loss + (loss - done.loss) / 30
            told = f"step {done.step}, {number} questions, loss {done.loss:.3f}"
            bar.update(row, completed=done.seconds, told=told)
            if not console.is_terminal and done.step % 50 == 0:
                console.print(f"{done.seconds:.0f} s: {told}")
            if done.seconds - kept > KEEP_EVERY:
                keep(model, optimizer, done, path)
                kept = done.seconds
    keep(model, optimizer, done, path)
    model.eval()
    return done


def learn(
    model: LargerModel, optimizer: torch.optim.Optimizer, batch: int, generator: torch.Generator
) -> float:
    """One optimiser step on fresh sequences; the loss."""
    loss = loss_of(model, model.task.sample(batch, generator), generator)
    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
    optimizer.step()
    return loss.item()


def loss_of(model: LargerModel, tokens: Tensor, generator: torch.Generator) -> Tensor:
    """Cross entropy at the hidden answers; as many are hidden as a draw for the sequence says."""
    noise = LEAST_NOISE + (1 - LEAST_NOISE) * torch.rand(len(tokens), 1, generator=generator)
    drawn = torch.rand(tokens.shape, generator=generator)
    # The largest noise hides all: decoding starts there, and would not know it otherwise.
    hidden = (drawn < noise * 1.15) & model.task.generated
    device = next(model.parameters()).device
    masked = tokens.masked_fill(hidden, model.task.mask_token_id).to(device)
    at = hidden.to(device)
    return cross_entropy(model(masked).logits[at], tokens.to(device)[at])


def keep(
    model: LargerModel, optimizer: torch.optim.Optimizer, done: Progressed, path: Path
) -> None:
    """Weights as safetensors, and the optimiser beside them; whole files or none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    notes = {name: str(value) for name, value in vars(done).items()}
    tensors = {name: value.detach().cpu() for name, value in model.state_dict().items()}
    beside = path.with_suffix(".part")
    beside.write_bytes(save(tensors, notes))
    torch.save({"step": done.step, "state": optimizer.state_dict()}, f"{beside}.optimizer")
    os.replace(f"{beside}.optimizer", path.with_suffix(".optimizer"))
    beside.replace(path)


def restore(model: LargerModel, optimizer: torch.optim.Optimizer, path: Path) -> Progressed:
    """Take up the training kept at ``path``; a new one where there is none."""
    if not path.exists():
        return Progressed()
    done = read(model, path)
    kept = torch.load(path.with_suffix(".optimizer"), map_location="cpu", weights_only=True)
    optimizer.load_state_dict(kept["state"])
    return done


def read(model: LargerModel, path: Path) -> Progressed:
    """The weights kept at ``path``, and how long they were trained."""
    model.load_state_dict(load_file(path))
    with safe_open(path, framework="pt") as file:
        notes = file.metadata()
    return Progressed(
        int(notes["step"]), float(notes["seconds"]), int(notes["questions"]), float(notes["loss"])
    )


def new_model(seed: int = 0, questions: int = 32, config: Config | None = None) -> LargerModel:
    """An untrained model; the global random state is left alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return LargerModel(LargerQuestions(questions), config or Config())


def bar_of(console: Console) -> Progress:
    """A bar of seconds."""
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    return Progress(
        *columns, TimeRemainingColumn(), TextColumn("{task.fields[told]}"), console=console
    )
