"""Arguments that may be a number or a tensor: a schema has one of each, the caller writes one."""

import torch
from torch import Tensor


def one_per_row(values: Tensor) -> Tensor:
    """[B] of any integer type -> int64, which is what the schemas take; never leaves its device."""
    return values.to(torch.int64)


def single(value: Tensor) -> Tensor:
    """One element of any shape and integer type -> int64 [1], read on its device at run time."""
    return value.to(torch.int64).reshape(1)


def number_or_rows(value: int | Tensor) -> tuple[int, Tensor | None]:
    """The two arguments of a schema for a number, or a tensor with one per sequence."""
    return (0, one_per_row(value)) if isinstance(value, Tensor) else (value, None)


def number_or_single(value: int | Tensor) -> tuple[int, Tensor | None]:
    """The two arguments of a schema for a number, or a tensor with a single element."""
    return (0, single(value)) if isinstance(value, Tensor) else (value, None)
