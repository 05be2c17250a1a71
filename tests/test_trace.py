"""What a trace keeps beside the order: graphs, passes, words. And what becomes of it on disk."""

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from models import MASK, Scripted, Transformer
from runs import toy_trace
from unmask import (
    DAPD,
    DAWN,
    PUNT,
    LoPA,
    ReMDM,
    StepEvent,
    Strategy,
    Threshold,
    TopConfidence,
    Trace,
    dapd_select,
    dependency_graph,
    generate,
    independent_set,
)
from unmask.reference.bits import unpack_bits

pytestmark = pytest.mark.usefixtures("one_thread")

GIVEN = torch.tensor([[0, 1, MASK], [2, 3, 4]])
DAPDS = [
    DAPD.staged(tau_min=0.2, tau_max=0.7),
    DAPD.direct(tau_min=0.2, precommit=0.3),
    DAPD(tau_min=0.3, tau_max=0.5, precommit=0.3, precommit_in_graph=False),
    DAPD(tau_min=0.01, tau_max=0.03, edge="rowsum", late="switch", late_threshold=0.3),
    DAPD(tau_min=0.2, tau_max=0.7, reuse=3),
]


def followed(strategy: Strategy, **options: object) -> tuple[Trace, list[StepEvent]]:
    events: list[StepEvent] = []
    settings = {"return_trace": "graph", "streamer": events.append, **options}
    out = generate(Transformer(), GIVEN, 30, strategy=strategy, **settings)
    assert out.trace is not None
    return out.trace, events


@pytest.mark.parametrize("strategy", DAPDS, ids=repr)
def test_the_graph_shown_is_the_one_that_decides(strategy: DAPD) -> None:
    _, events = followed(strategy)
    conflicts = 0
    for event in events:
        inputs = event.inputs
        positions = inputs.positions
        if not strategy.precommit_in_graph:
            positions = positions.masked_fill(inputs.confidence >= strategy.precommit, -1)
        tau, edge = strategy.tau(inputs), strategy.edge
        shown = strategy.conflict(inputs)
        selected = dapd_select(
            inputs.confidence,
            inputs.token,
            shown,
            dependency_graph(inputs.scores, positions, tau, edge=edge).degree,
            inputs.remaining,
            inputs.gen_length,
            precommit=strategy.precommit,
            late=strategy.late,
            late_threshold=strategy.late_threshold,
        )
        assert torch.equal(selected, event.selected)
        conflicts += int((shown != 0).sum())
        if strategy.precommit is not None:  # whoever is taken at once excludes nobody
            at_once = (inputs.confidence >= strategy.precommit) & (positions >= 0)
            pairs = unpack_bits(shown, shown.shape[1])
            assert not pairs[at_once].any()
            assert not pairs.mT[at_once].any()
    assert conflicts > 0


def test_a_row_that_switched_has_no_graph() -> None:
    strategy = DAPD(late="switch", late_progress=0.5)
    _, events = followed(strategy)
    for event in events:
        inputs = event.inputs
        late = 1 - inputs.remaining / inputs.gen_length >= 0.5
        assert not strategy.conflict(inputs)[late].any()
        alone = inputs.remaining < 2
        assert strategy.conflict(inputs)[~late & ~alone].flatten(1).any(-1).all()


def test_the_graph_of_dawn_decides_who_of_the_rest_goes() -> None:
    strategy = DAWN(0.5, tau_induced=1.0, tau_low=0.1, tau_sink=0.5, tau_edge=0.03, layers=[0])
    _, events = followed(strategy)
    counted = 0
    for event in events:
        confidence, shown = event.inputs.confidence, strategy.conflict(event.inputs)
        pairs = unpack_bits(shown, shown.shape[1])
        assert torch.equal(pairs, pairs.mT)
        usable = event.inputs.token >= 0
        settled = usable & (confidence >= strategy.tau_high)
        left = usable & (confidence >= strategy.tau_low) & ~settled
        left &= ~(pairs & settled.unsqueeze(1)).any(-1)
        expected = settled | independent_set(shown, confidence, eligible=left)
        some = expected.any(-1)  # else the most confident node is taken whatever the graph says
        assert torch.equal(event.selected[some], expected[some])
        counted += int((left & ~expected).sum())
    assert counted > 0, "no conflict ever decided anything"


@pytest.mark.parametrize("strategy", [DAPDS[0], DAPDS[1], DAWN()], ids=repr)
def test_a_trace_keeps_the_graph_of_every_step(strategy: Strategy) -> None:
    trace, events = followed(strategy, block_length=20)
    assert len(events) == trace.committed.shape[1] == trace.graphs.positions.shape[1]
    for step, event in enumerate(events):
        assert torch.equal(trace.graphs.positions[:, step], event.inputs.positions)
        assert torch.equal(trace.graphs.conflict[:, step], strategy.conflict(event.inputs))
        assert torch.equal(trace.graphs.selected[:, step], event.selected)


def test_one_graph_comes_without_padding() -> None:
    trace, events = followed(DAPDS[0])
    graph = trace.graphs.at(1, 2)
    there = events[2].inputs.positions[1] >= 0
    assert 0 < there.sum() < len(there)
    bits = unpack_bits(trace.graphs.conflict[1, 2], len(there))
    assert graph.positions.tolist() == events[2].inputs.positions[1][there].tolist()
    assert graph.conflict.tolist() == bits[there][:, there].tolist()
    assert graph.selected.tolist() == events[2].selected[1][there].tolist()


def test_what_is_not_asked_for_or_not_there_is_none() -> None:
    without = generate(Transformer(), GIVEN, 3, strategy=DAPD.staged(), return_trace=True).trace
    assert without.graphs is None
    assert without.words is None
    assert followed(Threshold(0.3))[0].graphs is None
    complete = torch.tensor([[1, 2]])
    nothing = generate(Transformer(), complete, 0, strategy=DAPD.staged(), return_trace="graph")
    assert nothing.trace.graphs is None


def test_return_trace_must_be_one_of_three() -> None:
    with pytest.raises(ValueError, match="return_trace must be one of False, True, 'graph', got"):
        generate(Scripted(), GIVEN, 1, strategy=Threshold(), return_trace="graphs")


@pytest.mark.parametrize("strategy", [TopConfidence(2), PUNT(), LoPA(branches=2)], ids=repr)
def test_passes_are_those_of_the_steps(strategy: Strategy) -> None:
    out = generate(Scripted(), torch.tensor([[1]]), 6, strategy=strategy, return_trace=True)
    assert out.trace.passes.dtype == torch.int32
    assert int(out.trace.passes.sum()) == int(out.steps[0])
    assert len(out.trace.passes) == out.trace.committed.shape[1]


def test_a_token_taken_back_has_no_step_until_it_returns() -> None:
    rule = ReMDM(steps=12, variant="rescale", eta=1.0)
    given = torch.full((4, 30), MASK)
    cut = generate(Scripted(), given, 0, strategy=rule, return_trace=True, max_steps=9)
    masked = cut.sequences == MASK
    assert torch.equal(cut.trace.revealed_step < 0, masked)
    assert not cut.trace.confidence[masked].any()
    assert (cut.trace.committed.sum() > (~masked).sum()).item(), "nothing was ever taken back"


def test_everything_survives_the_disk(tmp_path: Path) -> None:
    trace = toy_trace()
    assert trace.graphs is not None
    trace.save(tmp_path / "trace.json")
    loaded = Trace.load(tmp_path / "trace.json")
    assert loaded.words == trace.words
    assert len(loaded.words[1]) == trace.tokens.shape[1]
    pairs = [(trace.passes, loaded.passes)]
    for field in dataclasses.fields(trace.graphs):
        pairs.append((getattr(trace.graphs, field.name), getattr(loaded.graphs, field.name)))
    for ours, theirs in pairs:
        assert ours.dtype == theirs.dtype
        assert torch.equal(ours, theirs)


def test_files_of_before_still_load(tmp_path: Path) -> None:
    everything = toy_trace().to_dict()
    older = ("tokens", "revealed_step", "confidence", "committed")
    old = {name: everything[name] for name in older}
    (tmp_path / "old.json").write_text(json.dumps(old))
    loaded = Trace.load(tmp_path / "old.json")
    assert (loaded.passes, loaded.graphs, loaded.words) == (None, None, None)
    assert loaded.to_dict() == old


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "run.json must hold JSON, as Trace.save writes it: Expecting value"),
        ("[1]", "run.json must hold a trace, a JSON object with tokens, .*, got list"),
        ('{"tokens": [], "steps": 3}', "with tokens, revealed_step, .*, got tokens, steps"),
    ],
)
def test_other_files_are_refused_by_name(text: str, sentence: str, tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(ValueError, match=sentence):
        Trace.load(tmp_path / "run.json")
