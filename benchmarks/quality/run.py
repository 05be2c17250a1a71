"""The evidence of decoding quality: trains, decodes, and writes results, plots and the document.

PYTHONPATH=benchmarks python -m quality.run [--jobs 2] [--minutes 20] [--only sums ...] [--report]

Finished cells and trained models are kept in the cache: interrupt it and run it again, and it goes
on. What is not finished when the minutes are over is left out, and the document says so.
"""

import argparse
import json
import multiprocessing
import os
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, wait
from pathlib import Path
from queue import Empty, Queue
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # processes, not threads: models this small wait

import torch
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from quality import plots, report
from quality.cells import Cache, Cell, Finished, Work, write_atomically
from quality.decode import decode
from quality.edges import edges
from quality.experiments import EXPERIMENTS, pareto
from quality.experiments.schedules import constants, curve
from quality.scale import FULL, TINY, Scale
from quality.training import Training, training_of

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
KINDS: dict[str, Work] = {
    "decode": decode,
    "edges": edges,
    "curve": curve,
    "constants": constants,
}
LINE = 600  # characters of a row in a results file
TICK = 25  # training steps per movement of the bar


def run_cell(cell: Cell, folder: Path) -> None:
    """In a worker: do one cell and keep its result."""
    torch.set_num_threads(1)
    cache = Cache(folder)
    cache.write(cell, KINDS[cell.kind](cell.settings, cache))


def run_training(training: Training, folder: Path, ticks: "Queue[int]") -> None:
    """In a worker: train one model, and say every few steps that it goes on."""
    torch.set_num_threads(1)
    steps = 0

    def tick() -> None:
        nonlocal steps
        steps += 1
        if steps % TICK == 0:
            ticks.put(TICK)

    training.run(Cache(folder), tick)


class Runner:
    """Works off trainings and cells, in several processes, until the time is over."""

    def __init__(self, cache: Cache, jobs: int, minutes: float, console: Console) -> None:
        self.cache, self.jobs, self.console = cache, jobs, console
        self.stop = time.monotonic() + 60 * minutes
        self.pool = ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn"))

    def __enter__(self) -> "Runner":
        return self

    def __exit__(self, *_: object) -> None:
        self.pool.shutdown(cancel_futures=True)

    def train(self, cells: Sequence[Cell]) -> None:
        """Train every model that these cells need and that is not there; the longest first."""
        asked = {training_of(c.settings["model"]) for c in cells if "model" in c.settings}
        missing = [training for training in asked if not training.done(self.cache)]
        longest_first = ["questions", "sums", "grammar"]
        missing.sort(key=lambda training: (longest_first.index(training.task), training.seed))
        if not missing or self.over():
            return
        total = sum(training.steps or 0 for training in missing)
        with multiprocessing.Manager() as manager, self._bar() as bar:
            task = bar.add_task(f"training {len(missing)} models", total=total)
            ticks = manager.Queue()
            work = [
                self.pool.submit(run_training, training, self.cache.folder, ticks)
                for training in missing
            ]
            while not all(future.done() for future in work):
                try:
                    bar.advance(task, ticks.get(timeout=1.0))
                except Empty:
                    continue
            raise_errors(work)

    def decode(self, cells: Sequence[Cell], title: str) -> None:
        """Do the cells that are not finished, whose models are there, while there is time."""
        waiting = [cell for cell in dict.fromkeys(cells) if self.cache.read(cell) is None]
        waiting = [
            cell
            for cell in waiting
            if "model" not in cell.settings or training_of(cell.settings["model"]).done(self.cache)
        ]
        if not waiting or self.over():
            return
        with self._bar() as bar:
            task = bar.add_task(title, total=len(waiting))
            queue = iter(waiting)
            running: set[Future[None]] = set()
            while not self.over():
                while len(running) < 2 * self.jobs and (cell := next(queue, None)) is not None:
                    running.add(self.pool.submit(run_cell, cell, self.cache.folder))
                if not running:
                    break
                done, running = wait(running, timeout=1.0, return_when="FIRST_COMPLETED")
                raise_errors(done)
                bar.advance(task, len(done))
            raise_errors(wait(running).done)

    def over(self) -> bool:
        """Whether the time is over."""
        return time.monotonic() > self.stop

    def _bar(self) -> Progress:
        return Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=self.console,
        )


def raise_errors(work: Iterable[Future[None]]) -> None:
    """Pass on what went wrong in a worker."""
    for future in work:
        future.result()


def collect(name: str, scale: Scale, cache: Cache, folder: Path) -> int:
    """Write an experiment's JSON; how many of its cells are missing."""
    folder.mkdir(parents=True, exist_ok=True)
    finished = Finished(cache)
    found = EXPERIMENTS[name].collect(scale, finished)
    facts = {"torch": torch.__version__, "seeds": list(scale.seeds), "steps": scale.steps}
    results = {"experiment": name, **facts, "cells_missing": len(finished.missing), **found}
    write_atomically(folder / f"{name}.json", readable(results) + "\n")
    return len(finished.missing)


def readable(value: Any, depth: int = 0) -> str:
    """JSON whose rows take a line each, so that a change can be read."""
    compact = json.dumps(value)
    if len(compact) <= LINE or not isinstance(value, dict | list):
        return compact
    margin = " " * (depth + 1)
    if isinstance(value, dict):
        parts = [f"{json.dumps(key)}: {readable(v, depth + 1)}" for key, v in value.items()]
        opens, closes = "{}"
    else:
        parts = [readable(v, depth + 1) for v in value]
        opens, closes = "[]"
    inside = ",\n".join(margin + part for part in parts)
    return f"{opens}\n{inside}\n{' ' * depth}{closes}"


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="quality.run", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--jobs", type=int, default=2, help="processes, of one thread each")
    parser.add_argument("--minutes", type=float, default=60.0, help="begin no cell after that")
    parser.add_argument("--only", nargs="+", choices=list(EXPERIMENTS), default=list(EXPERIMENTS))
    parser.add_argument(
        "--tiny", action="store_true", help="a few sequences, hardly trained models"
    )
    parser.add_argument("--report", action="store_true", help="only write plots and document again")
    parser.add_argument(
        "--cache", type=Path, default=HERE / ".cache", help="delete it to start anew"
    )
    parser.add_argument("--results", type=Path, default=HERE.parent / "results" / "quality")
    parser.add_argument("--docs", type=Path, default=ROOT / "docs")
    args = parser.parse_args(argv)
    if args.jobs < 1 or args.minutes < 0:
        parser.error("--jobs must be at least 1, --minutes at least 0")

    console = Console()
    if not args.report:
        _measure(args, console)
    plots.draw(args.results, args.docs / "quality")
    report.write(args.results, args.docs / "quality.md")
    console.print(f"written: {args.docs / 'quality.md'} and its plots; read that next")


def _measure(args: argparse.Namespace, console: Console) -> None:
    """Train, decode, and write the results."""
    scale, cache = TINY if args.tiny else FULL, Cache(args.cache)
    work = {name: EXPERIMENTS[name].cells(scale) for name in args.only}
    missing = 0
    with Runner(cache, args.jobs, args.minutes, console) as runner:
        runner.train([cell for cells in work.values() for cell in cells])
        for name, cells in work.items():
            runner.decode(cells, name)
            if name == pareto.NAME:
                runner.decode(pareto.later(scale, Finished(cache)), "pareto, tuned settings")
            missing += collect(name, scale, cache, args.results)
    if missing:
        console.print(f"{missing} cells are not finished: run the same again to go on")


if __name__ == "__main__":
    main()
