"""``unmask demo``: two small trained models, decoded by every strategy and checked word by word."""

import argparse
import json
import time
from collections.abc import Sequence

import torch
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from rich.text import Text
from torch import Tensor

from unmask import toy
from unmask.generate import generate
from unmask.strategies import Strategy, TopConfidence
from unmask.toy import Task
from unmask.toy.evaluate import Result, calibrated, competitors, evaluate, prompts
from unmask.watch import Watch

STEP_COLOURS = ["bright_green", "bright_cyan", "bright_yellow", "bright_magenta", "bright_blue"]

# What is asked, in the order of the tables: title, task, arguments of its sampler.
BOARDS = [
    ("Sentences, all words masked", "grammar", {}),
    ("Five questions, mixed", "questions", {}),
    ("Five questions, uncertain answers only", "questions", {"kinds": "ST"}),
    ("Five questions, deterministic answers only", "questions", {"kinds": "CA"}),
]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command line of ``unmask demo``."""
    parser.add_argument("--n", type=int, default=100, help="sequences per row of a table")
    parser.add_argument("--seed", type=int, default=0, help="of prompts and draws")
    parser.add_argument(
        "--watch", action="store_true", help="instead, see one sequence of each task being decoded"
    )
    parser.add_argument("--fps", type=float, default=2.0, help="steps per second, with --watch")
    parser.add_argument(
        "--save-trace", metavar="FILE", help="keep the last run watched, for unmask plot"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object instead")


def run(args: argparse.Namespace) -> int:
    """Decode, print, and return the exit code."""
    if args.n < 1:
        raise SystemExit(f"unmask demo: --n must be at least 1, got {args.n}")
    if args.save_trace and not args.watch:
        raise ValueError("--save-trace keeps a run that was watched: add --watch")
    if args.watch and args.json:
        raise ValueError("--watch draws and --json prints numbers: choose one")
    start = time.perf_counter()
    torch.set_num_threads(1)  # models this small only wait for a second thread
    console = Console(stderr=args.json)
    if args.watch:
        watch_runs(console, args)
        return 0
    if not args.json:
        show_sentences(console, args.seed)
    boards: dict[str, list[Result]] = {title: [] for title, _, _ in BOARDS}
    rows = sum(len(competitors(toy.TASKS[name])) for _, name, _ in BOARDS)
    with Progress(console=console, transient=True) as progress:
        bar = progress.add_task("decoding", total=rows)
        for title, name, kinds in BOARDS:
            model, task = toy.load(name)
            masked = prompts(task, args.n, args.seed, **kinds)
            for label, strategy in competitors(task).items():
                progress.update(bar, description=f"{title}: {label}")
                result = evaluate(label, strategy, model, task, masked, seed=args.seed)
                boards[title].append(result)
                progress.advance(bar)
    if args.json:
        report = {title: [row.to_dict() for row in board] for title, board in boards.items()}
        print(json.dumps({"n": args.n, "seed": args.seed, "boards": report}, indent=2))
        return 0
    for title, board in boards.items():
        console.print(as_table(title, board, args.n))
    console.print(
        f"{rows} rows of {args.n} sequences in {time.perf_counter() - start:.0f} s, on one thread. "
        "The score is the fraction of valid sentences, or of questions answered correctly; steps "
        "are forward passes per sequence.\nNext: unmask demo --watch, or decode a model of your "
        "own with unmask.generate (README)."
    )
    return 0


def show_sentences(console: Console, seed: int, count: int = 3) -> None:
    """The same masked sentences, decoded one word per pass and by DAPD."""
    task = toy.TASKS["grammar"]
    masked = prompts(task, count, seed)
    for title, strategy in [
        ("One word per forward pass", TopConfidence()),
        ("DAPD: words that do not depend on each other, together", calibrated(task)),
    ]:
        console.print(f"\n[bold]{title}[/bold]  (the number is the pass that revealed the word)")
        for line in decode_with_steps(strategy, masked, seed):
            console.print(line)


def watch_runs(console: Console, args: argparse.Namespace) -> None:
    """A sentence and five questions, first a word at a time and then by DAPD."""
    for name in ("grammar", "questions"):
        model, task = toy.load(name)
        masked = prompts(task, 1, args.seed)

        def word(ids: list[int], task: Task = task) -> str:
            return task.vocab[ids[0]]

        for title, strategy in [("one per step", TopConfidence()), ("DAPD", calibrated(task))]:
            console.print(f"\n[bold]{name}[/bold], {title}")
            with Watch(word, task.mask_token_id, fps=args.fps, console=console) as watch:
                output = generate(
                    model,
                    masked,
                    max_new_tokens=0,
                    strategy=strategy,
                    temperature=task.temperature,
                    seed=args.seed,
                    streamer=watch,
                    return_trace="graph",
                )
    if args.save_trace:
        assert output.trace is not None
        output.trace.with_words(word).save(args.save_trace)
    file = args.save_trace or "trace.json"
    again = "" if args.save_trace else f"unmask demo --watch --save-trace {file}, then "
    console.print(f"\nNext: {again}unmask plot {file}", markup=False)


def decode_with_steps(strategy: Strategy, masked: Tensor, seed: int) -> list[Text]:
    """Sentences whose words carry the number, and the colour, of the step that revealed them."""
    model, task = toy.load("grammar")
    output = generate(
        model,
        masked,
        max_new_tokens=0,
        strategy=strategy,
        temperature=task.temperature,
        seed=seed,
        return_trace=True,
    )
    assert output.trace is not None
    valid = task.score(output.sequences).bool()
    return [
        annotate(task.words(row), output.trace.revealed_step[b].tolist(), bool(valid[b]))
        for b, row in enumerate(output.sequences)
    ]


def annotate(words: Sequence[str], steps: Sequence[int], valid: bool) -> Text:
    """One line of words with their steps, he₁ plays₂, and the verdict."""
    line = Text("  ")
    for word, step in zip(words, steps, strict=True):
        line.append(word, style=STEP_COLOURS[step % len(STEP_COLOURS)])
        line.append(subscript(step + 1) + " ", style="dim")
    line.append("valid" if valid else "not a valid sentence", style="green" if valid else "red")
    return line


def subscript(number: int) -> str:
    """12 -> ₁₂."""
    return "".join(chr(0x2080 + int(digit)) for digit in str(number))


def as_table(title: str, board: Sequence[Result], count: int) -> Table:
    """One row per strategy; the fewest steps among those that lose no quality stand out."""
    table = Table(title=f"\n{title} (n = {count})", title_justify="left")
    table.add_column("strategy", no_wrap=True)
    for column in ("steps", "score", "seconds", "fewer steps"):
        table.add_column(column, justify="right")
    baseline = board[0]
    good = [row for row in board if row.score >= baseline.score - 0.02]
    best = min(good, key=lambda row: row.steps)
    for row in board:
        table.add_row(
            row.strategy,
            f"{row.steps:.2f}",
            f"{row.score:.3f}",
            f"{row.seconds:.2f}",
            f"{baseline.steps / row.steps:.1f}x",
            style="bold green" if row is best else ("red" if row not in good else ""),
        )
    return table


def main() -> None:
    """Run the demo without the command line tool: python -m unmask.demo."""
    parser = argparse.ArgumentParser(prog="python -m unmask.demo", description=__doc__)
    add_arguments(parser)
    torch.set_grad_enabled(False)
    raise SystemExit(run(parser.parse_args()))


if __name__ == "__main__":
    main()
