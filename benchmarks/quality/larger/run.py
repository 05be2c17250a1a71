"""The larger experiment of decoding quality: train, listen to every layer, decode, report.

python benchmarks/quality/larger/run.py [--minutes 15] [--resume] [--count 16]

Runs on a GPU where there is one. Interrupt it and run it again with ``--resume``: the training goes
on where it was last kept, and what is decoded already is not decoded again.
"""

import argparse
import json
import os
import platform
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # benchmarks, where quality lives

import torch
from rich.console import Console

from quality.larger import evaluate, plots, report
from quality.larger.model import Config, LargerModel
from quality.larger.task import ANSWERS, HEADER, KINDS, PROMPT
from quality.larger.train import Progressed, Recipe, new_model, train

ROOT = Path(__file__).resolve().parents[3]
RESULTS = ROOT / "benchmarks" / "results" / "quality" / "larger.json"
PICTURES = ROOT / "docs" / "quality"
CACHE = ROOT / ".cache" / "quality" / "larger"
BLOCK = 32
MORE = 4  # times as many texts, where decoding is quick


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line; ``arguments`` are those of the process if None."""
    args = parse(arguments)
    torch.set_num_threads(args.threads)
    console = Console(highlight=False, soft_wrap=True)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    growth = tuple((share, n) for share, n in Recipe().growth if n < args.questions)
    recipe = Recipe(
        minutes=args.minutes,
        at_once=args.at_once,
        growth=(*growth, (Recipe().growth[-1][0] if growth else 0.0, args.questions)),
        ceiling=args.steps,
        seed=args.seed,
    )
    config = Config(hidden=args.hidden, layers=args.layers)
    model = new_model(args.seed, args.questions, config).to(device)
    done = train(
        model, recipe, args.cache / "model.safetensors", resume=args.resume, console=console
    )
    results = about(model, recipe, done, args.count)
    partial = args.cache / "larger.json"
    before = json.loads(partial.read_text()) if args.resume and partial.exists() else {}
    if before.get("trained") == results["trained"] and before.get("count") == args.count:
        results = before
    measure(model, results, partial, console)
    args.results.parent.mkdir(parents=True, exist_ok=True)
    args.results.write_text(json.dumps(results, indent=1) + "\n")
    plots.draw(results, args.pictures)
    console.print(report.section(results), markup=False)
    console.print(f"wrote {args.results} and the pictures in {args.pictures}")
    console.print(f"next: python {Path(__file__).name} --resume --minutes {2 * args.minutes:g}")


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=15.0, help="of training (default: 15)")
    parser.add_argument("--resume", action="store_true", help="go on with what is in the cache")
    parser.add_argument("--count", type=int, default=16, help="texts to decode (default: 16)")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (default: 1)")
    parser.add_argument("--seed", type=int, default=0, help="of weights and data (default: 0)")
    parser.add_argument("--questions", type=int, default=32, help="in a text (default: 32)")
    parser.add_argument("--hidden", type=int, default=64, help="width (default: 64)")
    parser.add_argument("--layers", type=int, default=6, help="default: 6")
    parser.add_argument(
        "--steps", type=int, default=Recipe().ceiling, help="at most so many, whatever the time"
    )
    parser.add_argument(
        "--at-once", type=int, default=Recipe().at_once, help="questions per optimiser step"
    )
    parser.add_argument("--cache", type=Path, default=CACHE, help="where weights are kept")
    parser.add_argument("--results", type=Path, default=RESULTS, help="the file to write")
    parser.add_argument("--pictures", type=Path, default=PICTURES, help="the folder of the plots")
    args = parser.parse_args(arguments)
    if min(args.count, args.threads, args.questions, args.layers, args.steps) < 1:
        parser.error("--count, --threads, --questions, --layers and --steps must be at least 1")
    if args.minutes <= 0:
        parser.error(f"--minutes must be above 0, got {args.minutes:g}")
    return args


def about(model: LargerModel, recipe: Recipe, done: Progressed, count: int) -> dict[str, Any]:
    """What was trained, how far, and on what."""
    device = next(model.parameters()).device
    return {
        "model": model.config.to_dict(),
        "parameters": sum(each.numel() for each in model.parameters()),
        "prompt": HEADER + PROMPT * model.task.questions,
        "answers": ANSWERS * model.task.questions,
        "questions": model.task.questions,
        "block": BLOCK,
        "count": count,
        "seed": recipe.seed,
        "trained": {**vars(done), "growth": [list(each) for each in recipe.growth]},
        "machine": f"{platform.machine()}, {device.type}, {torch.get_num_threads()} thread(s)",
        "torch": torch.__version__,
    }


def measure(model: LargerModel, results: dict[str, Any], partial: Path, console: Console) -> None:
    """Fill in what is missing, and keep it after every row."""
    tokens = evaluate.prompts(model.task, results["count"])
    if "layers" not in results:
        results["layers"] = {
            "masked": evaluate.listen(model, tokens, 0.0),
            "half": evaluate.listen(model, tokens, evaluate.REVEALED),
        }
        results["best_layer"] = evaluate.best_layer(results["layers"]["masked"])
        results["kinds"] = list(KINDS)
        results["rows"] = []

    def decoded(rows: list[dict[str, Any]], tokens: torch.Tensor) -> None:
        for row in board(model, tokens, results["best_layer"], rows):
            partial.write_text(json.dumps(results))
            console.print(
                f"{row['strategy']}, {'blocks' if row['block'] else 'one block'}: "
                f"{row['steps']:.1f} steps, {row['score']:.3f} right, {row['seconds']:.0f} s"
            )

    decoded(results["rows"], tokens)
    learnt = report.learnt(results)
    if len(learnt) < len(KINDS):  # a model unsure of everything says little about strategies
        count = MORE * results["count"]
        kept = results.setdefault("learnt", {"kinds": learnt, "count": count, "rows": []})
        decoded(kept["rows"], evaluate.prompts(model.task, count, learnt))


def board(
    model: LargerModel, tokens: torch.Tensor, best: int, rows: list[dict[str, Any]]
) -> Iterator[dict[str, Any]]:
    """Decode with every strategy that has no row yet, and append its row."""
    known = {(row["strategy"], row["block"]) for row in rows}
    for name, (strategy, reading) in evaluate.strategies(model.config.layers, best).items():
        for block in (None, BLOCK):
            if (name, block) not in known:
                judged = evaluate.decode(model, tokens, strategy, block)
                rows.append({"strategy": name, "reading": reading, "block": block, **judged})
                yield rows[-1]


if __name__ == "__main__":
    main()
