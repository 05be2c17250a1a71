"""One measuring part in a process of its own: a kernel that breaks the device breaks this process.

Every case is announced before it runs and written down when it is done, one JSON object per line,
so that whoever waits knows what was lost, and can go on after it.
"""

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from gpu import cases, machine, outside
from gpu.bench import Bench, WrongAnswerError, forget, is_fatal

Job = tuple[str, Callable[[], Any]]
OPERATORS = {
    "topk_confidence": "topk",
    "attention_scores": "attention",
    "independent_set": "sets",
    "step": "steps",
}


def jobs(part: str, bench: Bench, commit: str | None = None) -> Iterator[Job]:
    """Name and work of everything that a part does. Imports come late: peers may be warmed up
    before unmask is built."""
    if part == "ceilings":
        from gpu import ceilings

        yield "machine", partial(machine.facts, commit)
        yield "ceilings", partial(ceilings.measure_all, bench)
    elif part == "warm":
        from gpu import warm

        yield from warm.jobs(bench)
    elif part == "stages":
        from gpu import steps

        nodes, vocab = (9, 500) if bench.tiny else (256, cases.LLADA)
        yield "stages", partial(steps.stages, bench, cases.Step("DAPD", 1, nodes, vocab))
    elif part == "memory":
        from gpu import memory

        for length in (16,) if bench.tiny else cases.MEMORY_LENGTHS:
            yield f"L={length}", partial(memory.run, bench, length)
    elif part == "traces":
        from gpu import traces

        yield "traces", partial(traces.run, bench, 14 if bench.tiny else traces.CASES)
    else:
        module = __import__(f"gpu.{OPERATORS[part]}", fromlist=["run"])
        for case in cases.cases_of(part, quick=bench.quick, tiny=bench.tiny):
            yield str(case), partial(module.run, bench, case)


def work(part: str, bench: Bench, write: Callable[[dict[str, Any]], None], **options: Any) -> None:
    """Do the jobs; a wrong answer or an error belongs to its case, unless the device is lost."""
    skip = options.pop("skip", 0)
    for index, (name, job) in enumerate(jobs(part, bench, **options)):
        if index < skip:
            continue
        write({"begin": name})
        try:
            found = job()
            for result in found if isinstance(found, Iterator) else [found]:
                write({"done": name, "result": result})
        except WrongAnswerError as wrong:
            write({"done": name, "wrong": str(wrong)})
        except Exception as error:  # a row of its own: the others may be well
            said = f"{type(error).__name__}: {(str(error) or '?').splitlines()[0][:200]}"
            write({"done": name, "failed": said})
            if is_fatal(error):
                sys.exit(outside.DEVICE_LOST)
        forget(bench)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("part")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--commit")
    parser.add_argument("--skip", type=int, default=0)
    parser.add_argument("--lines", type=Path, required=True)
    args = parser.parse_args()
    with args.lines.open("a", buffering=1) as lines:
        work(
            args.part,
            Bench.on(args.device, args.quick),
            lambda line: print(json.dumps(line), file=lines),
            skip=args.skip,
            commit=args.commit,
        )


if __name__ == "__main__":
    main()
