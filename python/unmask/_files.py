"""Files that are either the old one or the new one, never half of it."""

import os
from pathlib import Path


def require_folder(path: Path) -> None:
    """Where a file is to be written there must be a folder, or FileNotFoundError."""
    if not path.parent.is_dir():
        raise FileNotFoundError(f"the folder of {path} must exist, got {path.parent}")


def write_atomically(path: str | Path, content: bytes) -> None:
    """Replace a file in one move. Whoever is interrupted leaves the older one as it was.

    Raises:
        FileNotFoundError: the folder does not exist.
    """
    path = Path(path)
    require_folder(path)
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        beside.write_bytes(content)
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)
