"""Reading what ``run.py`` has written."""

import json
from pathlib import Path
from typing import Any

Results = dict[str, Any]


def read(folder: Path, name: str) -> Results:
    """An experiment's results; empty where it was not run."""
    path = folder / f"{name}.json"
    found: Results = json.loads(path.read_text()) if path.exists() else {}
    return found
