"""What the measuring modules share: where they run, how a case is raced, what a row looks like."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from gpu import timing

RELATIVE = 1e-5  # of floats against float64: the operators' own promise


class WrongAnswerError(Exception):
    """An answer that is not the expected one."""


@dataclass(frozen=True)
class Bench:
    """Where and how hard. On the CPU everything is tiny, and nobody compiles."""

    device: torch.device
    quick: bool = False

    @staticmethod
    def on(device: str, quick: bool = False) -> "Bench":
        return Bench(torch.device(device), quick)

    @property
    def tiny(self) -> bool:
        return self.device.type == "cpu"

    @property
    def stopwatch(self) -> timing.Device:
        return timing.Cpu() if self.tiny else timing.Cuda()

    @property
    def patience_s(self) -> float:
        return 1e-3 if self.tiny else 0.3 if self.quick else 0.6

    @cached_property
    def cold_bytes(self) -> int:
        """Inputs rotate over three times the L2 cache."""
        if self.tiny:
            return 1 << 16
        return 3 * int(torch.cuda.get_device_properties(self.device).L2_cache_size)

    @cached_property
    def triton(self) -> Any:
        """The peers written in Triton; None where it is not installed, or there is no GPU."""
        if self.tiny:
            return None
        try:
            from gpu import peers_triton
        except ImportError:
            return None
        return peers_triton

    def generator(self, seed: int = 0) -> torch.Generator:
        return torch.Generator(self.device).manual_seed(seed)

    def randn(self, *shape: int, dtype: Any = torch.float32, seed: int = 0) -> Tensor:
        return torch.randn(shape, generator=self.generator(seed), device=self.device, dtype=dtype)


class Contestant(NamedTuple):
    """Who is timed: a function of one input set. What waits for the device cannot be captured."""

    call: Callable[[Any], object]
    graph: bool = True


def race(
    bench: Bench,
    case: Any,
    ours: Callable[[Any], object],
    peers: Mapping[str, Contestant],
    inputs: Sequence[Any],
    *,
    bytes_per_set: int,
    agrees: Callable[[str, Any], object],
    prepare: Callable[[], None] | None = None,
    **facts: Any,
) -> dict[str, Any]:
    """Time ours, the peers, and ours again: how far the two differ is the noise.

    ``agrees(name, answer)`` raises WrongAnswerError for a peer's answer to the first inputs; that
    peer is then not timed.
    """
    if prepare:
        prepare()
    first = _timed(bench, Contestant(ours), inputs, prepare)
    theirs = {}
    for name, peer in peers.items():
        if prepare:
            prepare()
        theirs[name] = _try(bench, peer, inputs, prepare, partial(agrees, name))
    again = _timed(bench, Contestant(ours), inputs, prepare)
    return {
        "case": str(case),
        "ours": first,
        "noise": abs(again["median_s"] - first["median_s"]) / first["median_s"],
        "peers": theirs,
        "bytes": case.bytes,
        "flop": case.flop,
        "cold": len(inputs) * bytes_per_set >= bench.cold_bytes,
        **facts,
    }


def _timed(bench: Bench, who: Contestant, inputs: Sequence[Any], prepare: Any) -> dict[str, Any]:
    return timing.measure(
        who.call,
        inputs,
        bench.stopwatch,
        prepare=prepare,
        graph=who.graph,
        patience_s=bench.patience_s,
    ).as_dict()


def _try(
    bench: Bench,
    peer: Contestant,
    inputs: Sequence[Any],
    prepare: Any,
    agrees: Callable[[Any], object],
) -> dict[str, Any]:
    """A peer that fails is named with its reason; what the device says of a broken kernel is not
    about the peer, and is raised."""
    try:
        peer.call(inputs[0])  # where Triton tunes, and runs a kernel that adds several times
        if prepare:
            prepare()
        agrees(peer.call(inputs[0]))
        return _timed(bench, peer, inputs, prepare)
    except WrongAnswerError as wrong:
        return {"failed": f"answers otherwise: {wrong}"}
    except Exception as error:
        if is_fatal(error):
            raise
        forget(bench)
        return {"failed": f"{type(error).__name__}: {(str(error) or '?').splitlines()[0][:160]}"}


def is_fatal(error: BaseException) -> bool:
    """Has the device given up on this process?"""
    text = str(error)
    fatal = ("illegal memory access", "unspecified launch failure", "device-side assert",
             "misaligned address", "launch timed out", "illegal instruction")  # fmt: skip
    return any(words in text for words in fatal)


def forget(bench: Bench) -> None:
    """Give memory back that the last contestant has used."""
    if bench.device.type == "cuda":
        torch.cuda.empty_cache()


@contextmanager
def poisoned_outputs(bench: Bench) -> Any:
    """Memory that operators allocate starts as NaN and largest integers, so that what a kernel
    leaves unwritten is seen."""
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)


def require_equal(what: str, ours: Tensor, expected: Tensor) -> None:
    if not torch.equal(ours, expected.to(ours.dtype)):
        wrong = int((ours != expected).sum()) if ours.shape == expected.shape else -1
        raise WrongAnswerError(f"{what}: {wrong} of {ours.numel()} differ")


def require_close(what: str, ours: Tensor, exact: Tensor, relative: float = RELATIVE) -> float:
    """Returns the largest relative error."""
    ours, exact = ours.double(), exact.double()
    same = (ours == exact) | (ours - exact).abs().le(1e-12)
    error = ((ours - exact).abs() / exact.abs().clamp(min=1e-30)).masked_fill(same, 0.0)
    largest = float(error.max()) if error.numel() else 0.0
    if not largest <= relative:  # NaN included
        raise WrongAnswerError(f"{what}: off by {largest:.1e} relative, {relative:.0e} is allowed")
    return largest
