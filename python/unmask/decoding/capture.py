"""A function of device tensors, replayed as a CUDA graph."""

import warnings
from collections.abc import Callable
from contextlib import suppress

import torch
from torch import Tensor

Replay = Callable[[], object]
Recorder = Callable[[Callable[[], object]], Replay]

MOST_GRAPHS = 8  # places that are watched; logits and scores may each take turns between two


class Captured:
    """Calls a function that works in place, from its third call with the same tensors as a graph.

    A graph knows addresses and shapes, not values. A model's outputs come back at the same address
    pass after pass as long as nobody holds on to the last ones, because the allocator serves equal
    requests alike: so the first time a place is seen the function just runs, the second time it is
    recorded as well, and from then on replayed. What comes at yet another place just runs.
    """

    def __init__(self, function: Callable[..., object], record: Recorder | None) -> None:
        """Record: makes a replay of a call; None: every call just runs, as on the CPU."""
        self._function = function
        self._record = record
        self._replays: dict[tuple[object, ...], Replay | None] = {}

    def __call__(self, *tensors: Tensor | None) -> None:
        """Do what the function does with these tensors."""
        place = tuple(_place(tensor) for tensor in tensors)
        replay = self._replays.get(place)
        if replay is None and place in self._replays and self._record is not None:
            replay = self._recorded(place, tensors)
        if replay is not None:
            replay()
            return
        self._function(*tensors)
        if len(self._replays) < MOST_GRAPHS:
            self._replays.setdefault(place)

    def _recorded(
        self, place: tuple[object, ...], tensors: tuple[Tensor | None, ...]
    ) -> Replay | None:
        assert self._record is not None
        function = self._function
        try:
            self._replays[place] = self._record(lambda: function(*tensors))
        except RuntimeError as error:
            self._record = None
            warnings.warn(
                f"the decoding step could not be captured in a CUDA graph and runs without one, "
                f"to the same result: {error}",
                stacklevel=2,
            )
        return self._replays[place]


def recorder_for(device: torch.device) -> Recorder | None:
    """How calls are recorded on this device; None where there is nothing to record with."""
    if device.type != "cuda":
        return None

    def record(call: Callable[[], object]) -> Replay:
        # torch.cuda.graph() would also wait for the device and empty the allocator's cache, after
        # which the model's outputs come from elsewhere.
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.device(device):
            here, aside = torch.cuda.current_stream(), torch.cuda.Stream()
            aside.wait_stream(here)
            with torch.cuda.stream(aside):
                graph.capture_begin(capture_error_mode="thread_local")
                try:
                    call()
                except BaseException:
                    with suppress(RuntimeError):
                        graph.capture_end()
                    raise
                graph.capture_end()
            here.wait_stream(aside)
        return graph.replay

    return record


def _place(tensor: Tensor | None) -> tuple[object, ...] | None:
    if tensor is None:
        return None
    return tensor.data_ptr(), tensor.shape, tensor.stride(), tensor.dtype
