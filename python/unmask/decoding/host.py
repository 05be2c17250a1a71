"""The only places where the loop's tensors reach the host."""

from typing import Any

import numpy as np
import torch
from torch import Tensor


def read(tensor: Tensor) -> np.ndarray[Any, Any]:
    """The values on the host: a view of CPU memory, a copy that waits for the device otherwise."""
    return (tensor if tensor.device.type == "cpu" else tensor.cpu()).numpy()


class CompletionFlag:
    """Tells the host that every row is complete, without keeping the device waiting.

    On the CPU the answer is there at once. On CUDA it travels to pinned memory behind the step's
    kernels and is looked at one step later, when the device already has the next step to work on;
    so the host is never more than one step ahead, and one pass is run in vain at the very end.
    """

    def __init__(self, device: torch.device, *, patient: bool) -> None:
        """Patient: wait for each answer, for callers that read every step on the host anyway."""
        self._lags = device.type == "cuda" and not patient
        if self._lags:
            self._device = device
            self._slots = [torch.zeros((), dtype=torch.int32, pin_memory=True) for _ in range(2)]
            self._events = [torch.cuda.Event() for _ in range(2)]
            self._posted = 0

    def all_zero(self, remaining: Tensor) -> bool:
        """Whether [B] counts are all zero now, or on CUDA: whether they were one call ago."""
        if not self._lags:
            return not read(remaining).any()
        self._post(remaining)
        if self._posted == 1:
            return False
        before = self._posted % 2  # the slot of the call before this one
        self._events[before].synchronize()
        return not self._slots[before].numpy()

    def _post(self, remaining: Tensor) -> None:
        now = self._posted % 2
        self._slots[now].copy_(remaining.any().int(), non_blocking=True)
        self._events[now].record(torch.cuda.current_stream(self._device))
        self._posted += 1
