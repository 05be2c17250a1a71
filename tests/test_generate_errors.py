"""What generate() refuses: name, rule, received, before the first forward pass."""

from typing import Any

import pytest
import torch
from models import MASK, VOCAB, Scripted
from torch import Tensor
from unmask import DAPD, Threshold, generate

M = MASK


def ids(*rows: list[int], device: Any = "cpu") -> Tensor:
    return torch.tensor(rows, device=device)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": 3}, "model must be callable, got int"),
        ({"mask_token_id": -1}, "mask_token_id must be an int >= 0, got -1"),
        ({"input_ids": [[1]]}, r"input_ids must be int64 \[B, P\], got list"),
        ({"input_ids": torch.zeros(3)}, r"input_ids must be int64 .*, got float32 \[3\]"),
        ({"max_new_tokens": -1}, "max_new_tokens must be an int >= 0, got -1"),
        ({"block_length": 0}, "block_length must be an int >= 1, got 0"),
        ({"strategy": DAPD}, "strategy must be a Strategy such as .*, got <class"),
        ({"eos_token_id": "x"}, "eos_token_id must be one or several token ids >= 0, got 'x'"),
        ({"eos_token_id": []}, r"eos_token_id must be one or several token ids >= 0, got \[\]"),
        ({"suppress_tokens": [-4]}, r"suppress_tokens must be .* token ids >= 0, got \[-4\]"),
        ({"temperature": -0.5}, "temperature must be a finite number >= 0, got -0.5"),
        ({"top_k": 1.5}, "top_k must be an int >= 0, got 1.5"),
        ({"top_p": 0.0}, r"top_p must be a number in \(0, 1\], got 0.0"),
        ({"logit_shift": -1}, "logit_shift must be an int >= 0, got -1"),
        ({"max_steps": -1}, "max_steps must be an int >= 0, got -1"),
        ({"seed": 0.5}, r"seed must be an int or int64 \[B\], got 0.5"),
        ({"seed": torch.zeros(2).long()}, r"seed must be \[B\] = \[1\], got int64 \[2\]"),
        ({"seed": torch.zeros(1)}, r"seed must be an int or int64 \[B\], got float32 \[1\]"),
        (
            {"attention_mask": torch.ones(1, 5).long()},
            r"attention_mask must be \[B, P\] = \[1, 3\], got int64 \[1, 5\]",
        ),
        (
            {"attention_mask": torch.ones(1, 3)},
            r"attention_mask must be bool or integer, got float32 \[1, 3\]",
        ),
        (
            {"attention_mask": torch.tensor([[1, 0, 1]])},
            "attention_mask must have its zeros on the left or right of each row, got .* row 0",
        ),
        ({"streamer": 3}, r"streamer must have put\(\) and end\(\), or be callable, got int"),
    ],
)
def test_says_what_is_wrong_before_the_first_pass(change: dict[str, Any], message: str) -> None:
    model = Scripted()
    arguments = {"model": model, "input_ids": ids([1, 2, 3]), "strategy": Threshold(), **change}
    with pytest.raises(ValueError, match=f"^{message}"):
        generate(**arguments)
    assert model.seen == []


def test_says_how_to_name_the_mask() -> None:
    with pytest.raises(ValueError, match=r"^mask_token_id must be given .*no config.mask_token_id"):
        generate(lambda input_ids, attention_mask=None: None, ids([1]), 1)


@pytest.mark.parametrize(
    ("output", "message"),
    [
        (None, "model must return logits, an object with .logits, .*, got NoneType"),
        ({"scores": 1}, "model must return logits, .*, got NoneType"),
        (
            torch.zeros(1, 5, 4),
            r"model must return logits \[B, L, V\] = \[1, 3, V\], got \[1, 5, 4\]",
        ),
        (torch.zeros(3, 4), r"model must return logits \[B, L, V\] = .*, got \[3, 4\]"),
    ],
)
def test_says_what_is_wrong_with_the_model(output: Any, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}"):
        generate(
            lambda input_ids, attention_mask=None: output,
            ids([1]),
            2,
            strategy=Threshold(),
            mask_token_id=VOCAB - 2,
        )
