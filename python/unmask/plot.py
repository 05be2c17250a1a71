"""``unmask plot``: figures of a run, from the trace that it left behind."""

import argparse
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from unmask.decoding.trace import Trace
from unmask.figures import KINDS, draw


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command line of ``unmask plot``."""
    parser.add_argument(
        "trace", type=Path, help="what Trace.save or `unmask demo --watch --save-trace` wrote"
    )
    parser.add_argument(
        "-o", "--output", type=Path, help="png, svg or pdf; default: the trace's name with .png"
    )
    parser.add_argument("--row", type=int, default=0, help="which sequence, from 0")
    parser.add_argument("--step", type=int, help="whose graph, from 0; default: the first")
    parser.add_argument("--kind", choices=[*KINDS, "all"], default="all", help="what to draw")
    parser.add_argument("--dpi", type=int, default=100, help="dots per inch of a png")


def run(args: argparse.Namespace) -> int:
    """Draw, save, and return the exit code."""
    if args.dpi < 1:
        raise ValueError(f"--dpi must be at least 1, got {args.dpi}")
    if not args.trace.exists():
        raise FileNotFoundError(
            f"no trace at {args.trace}; to make one: unmask demo --watch --save-trace {args.trace}"
        )
    trace = Trace.load(args.trace)
    output = args.output or args.trace.with_suffix(".png")
    draw(trace, row=args.row, step=args.step, kind=args.kind).savefig(output, dpi=args.dpi)

    console = Console(soft_wrap=True, highlight=False)
    console.print(f"wrote {escape(str(output))}")
    rows, steps = trace.committed.shape
    hints = []
    if rows > 1:
        hints.append(f"--row up to {rows - 1}")
    if trace.graphs is None:
        hints.append('graphs too: decode with DAPD and return_trace="graph"')
    elif steps > 1 and args.kind != "order":
        hints.append(f"--step up to {steps - 1} for other graphs")
    if trace.words is None:
        hints.append("words in the cells: trace.with_words(tokenizer.decode).save(...)")
    if hints:
        console.print(f"Next: {escape('; '.join(hints))}")
    return 0
