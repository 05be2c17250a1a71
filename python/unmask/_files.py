"""Files that are either the old one or the new one, never half of it."""

import os
from pathlib import Path


def write_atomically(path: str | Path, content: bytes) -> None:
    """Replace a file in one move. Whoever is interrupted leaves the older one as it was."""
    path = Path(path)
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        beside.write_bytes(content)
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)
