"""Who follows a run: streamers, the progress bar, the trace."""

from pathlib import Path

import pytest
import torch
from models import MASK, Scripted, target
from unmask import StepEvent, Threshold, TopConfidence, Trace, generate

pytestmark = pytest.mark.usefixtures("one_thread")

M = MASK


class Streamer:
    """What transformers expects of one."""

    def __init__(self) -> None:
        self.pieces: list[list] = []
        self.ended = 0

    def put(self, value: torch.Tensor) -> None:
        self.pieces.append(value.tolist())

    def end(self) -> None:
        self.ended += 1


def test_a_streamer_gets_the_text_from_left_to_right_as_it_settles() -> None:
    streamer = Streamer()
    # Revealed in the order 4, 2, 5, 3: position 4 waits for 3, and both go out with 5.
    model = Scripted(sureness=[0, 0, 4.0, 2.0, 5.0, 3.0])
    generate(model, torch.tensor([[1, 2]]), 4, strategy=TopConfidence(), streamer=streamer)
    assert streamer.pieces == [[[1, 2]], [target(2)], [target(3), target(4), target(5)]]
    assert streamer.ended == 1


def test_a_streamer_skips_padding_and_begins_at_the_first_mask() -> None:
    streamer = Streamer()
    generate(
        Scripted(chained=True),
        torch.tensor([[0, 1, M, 3, 0]]),
        1,
        strategy=Threshold(),
        attention_mask=torch.tensor([[0, 1, 1, 1, 0]]),
        streamer=streamer,
    )
    assert streamer.pieces == [[[1]], [target(2), 3, target(4)]]


def test_a_streamer_is_closed_when_the_model_fails() -> None:
    streamer = Streamer()
    with pytest.raises(ValueError, match="model must return logits"):
        generate(
            lambda input_ids, attention_mask=None: None,
            torch.tensor([[1]]),
            1,
            strategy=Threshold(),
            mask_token_id=M,
            streamer=streamer,
        )
    assert streamer.ended == 1


def test_a_streamer_follows_one_row() -> None:
    with pytest.raises(ValueError, match=r"streamer with put\(\) follows a single row, got 2"):
        generate(Scripted(), torch.tensor([[1], [2]]), 1, streamer=Streamer())


def test_a_callable_is_told_of_every_step(device: torch.device) -> None:
    events: list[StepEvent] = []
    given = torch.tensor([[1, 2], [M, M]], device=device)
    out = generate(Scripted(chained=True), given, 2, strategy=Threshold(), streamer=events.append)
    assert [event.step for event in events] == [0, 1, 2, 3]
    assert [event.remaining.tolist() for event in events] == [[1, 3], [0, 2], [0, 1], [0, 0]]
    assert events[0].tokens.tolist() == [[1, 2, target(2), M], [target(0), M, M, M]]
    assert events[0].inputs.tokens.tolist() == [[1, 2, M, M], [M, M, M, M]]
    assert events[0].inputs.positions.tolist() == [[2, 3, -1, -1], [0, 1, 2, 3]]
    assert events[0].selected.tolist() == [[True, False, False, False]] * 2
    assert torch.equal(events[-1].tokens, out.sequences)


def test_progress_counts_revealed_tokens(capsys: pytest.CaptureFixture[str]) -> None:
    given = torch.tensor([[1, M], [1, 2]])
    out = generate(Scripted(), given, 3, strategy=TopConfidence(2), progress=True)
    assert not (out.sequences == M).any()
    assert "7/7 tokens" in capsys.readouterr().err


def test_a_trace_survives_the_disk(tmp_path: Path) -> None:
    out = generate(
        Scripted(chained=True),
        torch.tensor([[1, M, 3], [1, 2, 3]]),
        3,
        strategy=TopConfidence(2),
        return_trace=True,
    )
    out.trace.save(tmp_path / "trace.json")
    loaded = Trace.load(tmp_path / "trace.json")
    for name in ["tokens", "revealed_step", "confidence", "committed"]:
        ours, theirs = getattr(out.trace, name), getattr(loaded, name)
        assert ours.dtype == theirs.dtype
        assert torch.equal(ours, theirs)
    assert out.trace.to_dict()["committed"] == [[2, 2], [2, 1]]
    assert torch.equal(out.trace.tokens, out.sequences)


def test_an_empty_trace_survives_the_disk(tmp_path: Path) -> None:
    out = generate(Scripted(), torch.tensor([[1, 2], [3, 4]]), 0, return_trace=True)
    out.trace.save(tmp_path / "trace.json")
    assert Trace.load(tmp_path / "trace.json").committed.shape == (2, 0)


def test_render_puts_steps_below_words() -> None:
    trace = Trace(
        tokens=torch.tensor([[0, 0], [2, 1]]),
        revealed_step=torch.tensor([[0, 0], [-1, 12]], dtype=torch.int32),
        confidence=torch.zeros(2, 2),
        committed=torch.ones(2, 13, dtype=torch.int32),
    )
    words = ["", " a", "chess "]
    assert trace.render(lambda one: words[one[0]], row=1) == "chess a\n.     12"
    assert trace.render(lambda one: words[one[0]], row=1, width=6) == "chess\n.\na\n12"
    assert trace.render(lambda one: words[one[0]]) == "_ _\n0 0"
