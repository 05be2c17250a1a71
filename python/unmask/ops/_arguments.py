"""Arguments that may be a number or a tensor: a schema has one of each, the caller writes one."""

import torch
from torch import Tensor


def number_or_rows(value: int | Tensor) -> tuple[int, Tensor | None]:
    """A number, or one int64 per sequence, which never leaves its device."""
    return (0, value.to(torch.int64)) if isinstance(value, Tensor) else (value, None)


def number_or_scalar(value: int | Tensor) -> tuple[int, Tensor | None]:
    """A number, or a tensor with a single element, read on its device when the kernel runs."""
    return (0, value.to(torch.int64).reshape(1)) if isinstance(value, Tensor) else (value, None)
