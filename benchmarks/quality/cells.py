"""The units of work: small, independent, and kept once they are done.

A cell is a function's name and its settings. Its result lies in the cache under a digest of both,
so that an interrupted run goes on where it stopped, and experiments that ask for the same cell
share it.
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

Settings = Mapping[str, Any]
Result = dict[str, Any]


@dataclass(frozen=True)
class Cell:
    """One call of ``KINDS[kind](settings, cache)``; the settings are plain JSON."""

    kind: str
    text: str  # the settings as canonical JSON, which makes a cell hashable

    @classmethod
    def of(cls, kind: str, **settings: Any) -> "Cell":
        """A cell of this kind with these settings."""
        return cls(kind, json.dumps(settings, sort_keys=True))

    @property
    def settings(self) -> dict[str, Any]:
        """What the cell is to do."""
        read: dict[str, Any] = json.loads(self.text)
        return read

    @property
    def key(self) -> str:
        """Name of its file; another torch may round otherwise, so it counts as another cell."""
        said = f"{self.kind} {self.text} torch {torch.__version__}"
        return f"{self.kind}-{hashlib.sha256(said.encode()).hexdigest()[:20]}"


class Cache:
    """A folder of finished cells and trained models."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.models = folder / "models"
        self.cells = folder / "cells"
        for path in (self.models, self.cells):
            path.mkdir(parents=True, exist_ok=True)

    def read(self, cell: Cell) -> Result | None:
        """The cell's result, or None if it is not finished."""
        path = self.cells / f"{cell.key}.json"
        return json.loads(path.read_text()) if path.exists() else None

    def write(self, cell: Cell, result: Result) -> None:
        """Keep a result."""
        write_atomically(self.cells / f"{cell.key}.json", json.dumps(result))


def write_atomically(path: Path, text: str) -> None:
    """Whoever looks at the file sees all of it or nothing, also after a crash half-way."""
    beside = path.with_name(f"{path.name}.{os.getpid()}.part")
    beside.write_text(text)
    beside.replace(path)


class Finished:
    """What is there so far; notes which cells an experiment asked for and did not get."""

    def __init__(self, cache: Cache) -> None:
        self.cache = cache
        self.missing: set[Cell] = set()

    def __call__(self, cell: Cell) -> Result | None:
        """The cell's result, or None."""
        result = self.cache.read(cell)
        if result is None:
            self.missing.add(cell)
        return result

    def all_of(self, cells: Iterable[Cell]) -> list[Result] | None:
        """The results of all these cells, or None unless every one is finished."""
        results = [self(cell) for cell in cells]
        found = [result for result in results if result is not None]
        return found if len(found) == len(results) else None


Work = Callable[[Settings, Cache], Result]
