"""Runs to look at: the toy model's, with everything a trace can hold."""

import torch
from unmask import GenerateOutput, Trace, generate, toy
from unmask.toy.evaluate import calibrated, prompts


def toy_run(name: str = "questions", rows: int = 2, **options: object) -> GenerateOutput:
    """DAPD on the shipped model, with graphs unless told otherwise."""
    model, task = toy.load(name)
    given = prompts(task, rows, seed=0)
    settings = {"strategy": calibrated(task), "return_trace": "graph", **options}
    return generate(model, given, 0, temperature=task.temperature, **settings)


def toy_trace(name: str = "questions", rows: int = 2, **options: object) -> Trace:
    """The trace of such a run, with its words."""
    vocab = toy.TASKS[name].vocab
    trace = toy_run(name, rows, **options).trace
    assert trace is not None
    return trace.with_words(lambda ids: vocab[ids[0]])


def made_up(steps: list[int], words: list[str] | None = None) -> Trace:
    """A trace of one row of which only the steps matter."""
    revealed = torch.tensor([steps], dtype=torch.int32)
    count = max(steps, default=-1) + 1
    committed = [[steps.count(step) for step in range(count)]]
    return Trace(
        tokens=torch.arange(len(steps)).unsqueeze(0),
        revealed_step=revealed,
        confidence=torch.ones(revealed.shape),
        committed=torch.tensor(committed, dtype=torch.int32),
        words=None if words is None else [words],
    )
