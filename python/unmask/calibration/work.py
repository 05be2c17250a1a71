"""What has been measured so far, in a file, so that an interrupted calibration can go on."""

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from unmask._files import write_atomically

Tensors = dict[str, Tensor]
SAMPLED = 8  # elements of each parameter that tell one checkpoint from another


class Work:
    """Measurements by name. With a path they are written after each one, whole or not at all.

    Args:
        path: the work file; None keeps everything in memory.
        key: everything the measurements depend on, as JSON values. A file with another key is
            not used.
        resume: whether a file that is there may be used at all.

    Attributes:
        note: what was found when it was opened, one sentence, or "".
        anew: whether there was something to go on with, and it could not be used.
    """

    def __init__(self, path: Path | None, key: Mapping[str, Any], resume: bool) -> None:
        self._path = path
        self._key = json.dumps(key, sort_keys=True)
        self._done: dict[str, Tensors] = {}
        self.note, self.anew = "", False
        if path is not None and resume:
            self.note = self._open(path)
            self.anew = path.exists() and not self._done

    def __len__(self) -> int:
        return len(self._done)

    def __contains__(self, name: str) -> bool:
        return name in self._done

    def once(self, name: str, measure: Callable[[], Mapping[str, Tensor]]) -> Tensors:
        """What `measure` returns, from the file if it is there already; on the CPU."""
        if name not in self._done:
            found = measure()
            self._done[name] = {part: value.cpu().contiguous() for part, value in found.items()}
            self._write()
        return self._done[name]

    def _write(self) -> None:
        if self._path is None:
            return
        flat = {
            f"{name}/{part}": value
            for name, parts in self._done.items()
            for part, value in parts.items()
        }
        write_atomically(self._path, save(flat, {"key": self._key}))

    def _open(self, path: Path) -> str:
        if not path.exists():
            return f"nothing to resume: there is no {path}"
        try:
            with safe_open(path, framework="pt") as file:
                if (file.metadata() or {}).get("key") != self._key:
                    return f"{path} was measured with other arguments, or another model: anew"
                for name in file.keys():  # noqa: SIM118 - not a mapping
                    step, _, part = name.rpartition("/")
                    self._done.setdefault(step, {})[part] = file.get_tensor(name)
        except SafetensorError as error:
            return f"{path} cannot be read ({error}): anew"
        return f"going on with {len(self._done)} measurements from {path}"


def fingerprint(model: object) -> str:
    """Tells models apart, by a few elements of each parameter; "" where there are none."""
    if not isinstance(model, nn.Module):
        return ""
    digest = hashlib.sha256()
    for name, parameter in model.named_parameters():
        some = parameter.detach().flatten()[:SAMPLED].float().cpu()
        digest.update(f"{name} {tuple(parameter.shape)} {some.tolist()}".encode())
    return digest.hexdigest()[:16]


def merged(parts: list[Tensors]) -> Tensors:
    """The rows of several measurements under each other."""
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
