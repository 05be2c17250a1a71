"""The conflict graphs that a run went by, one per step, small enough to keep in a JSON file."""

import zlib
from base64 import b64decode, b64encode
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unmask.decoding.host import read


@dataclass(frozen=True)
class Graph:
    """One row's graph in one step, on the host: n masked positions."""

    positions: "np.ndarray[Any, Any]"  # int [n], ascending
    conflict: "np.ndarray[Any, Any]"  # bool [n, n]; (i, j): node j, once taken, excludes node i
    selected: "np.ndarray[Any, Any]"  # bool [n], revealed in this step


@dataclass(frozen=True)
class Graphs:
    """Those of B sequences in S steps, with room for N nodes each."""

    positions: Tensor  # int32 [B, S, N], where the nodes were; -1 pads
    conflict: Tensor  # int32 [B, S, N, ceil(N / 32)], see unmask.dependency_graph
    selected: Tensor  # bool [B, S, N], which nodes were revealed

    def at(self, row: int, step: int) -> Graph:
        """One of them, without its padding."""
        positions = read(self.positions[row, step])
        bits = np.arange(32, dtype=np.int32)
        words = read(self.conflict[row, step])
        conflict = ((words[..., None] >> bits) & 1).astype(bool).reshape(len(words), -1)
        there = np.flatnonzero(positions >= 0)
        return Graph(
            positions[there], conflict[np.ix_(there, there)], read(self.selected[row, step])[there]
        )

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON: the shape [B, S, N], and little-endian bytes, by zlib and base64."""
        packed = {field.name: _pack(getattr(self, field.name)) for field in fields(self)}
        return {"shape": list(self.positions.shape), **packed}

    @classmethod
    def from_dict(cls, stored: dict[str, Any]) -> "Graphs":
        """What :meth:`to_dict` made, on the CPU."""
        batch, steps, nodes = stored["shape"]
        words = (nodes + 31) // 32
        return cls(
            positions=_unpack(stored["positions"], "<i4", (batch, steps, nodes)),
            conflict=_unpack(stored["conflict"], "<i4", (batch, steps, nodes, words)),
            selected=_unpack(stored["selected"], "?", (batch, steps, nodes)),
        )


def _pack(tensor: Tensor) -> str:
    values = np.ascontiguousarray(read(tensor))
    return b64encode(
        zlib.compress(values.astype(values.dtype.newbyteorder("<")).tobytes())
    ).decode()


def _unpack(text: str, dtype: str, shape: tuple[int, ...]) -> Tensor:
    values = np.frombuffer(zlib.decompress(b64decode(text)), dtype)
    return torch.from_numpy(values.astype(values.dtype.newbyteorder("=")).reshape(shape))
