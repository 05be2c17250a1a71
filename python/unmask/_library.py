"""Loads the operators into torch. Imported once, by unmask.ops."""

from pathlib import Path

import torch

_FILE = Path(__file__).with_name("libunmask_torch.so")


def load() -> None:
    """Register torch.ops.unmask.*, or say why that is impossible and what to do."""
    if not _FILE.exists():
        raise ImportError(
            "unmask was built without its torch operators. Build it again where torch is "
            "installed: pip install --no-build-isolation --force-reinstall --no-deps ."
        )
    try:
        torch.ops.load_library(str(_FILE))
    except OSError as error:
        raise ImportError(
            f"unmask's operators were built for another torch than {torch.__version__}: {error}. "
            "Build unmask again: pip install --no-build-isolation --force-reinstall --no-deps ."
        ) from error
