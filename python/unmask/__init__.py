"""Exact, sync-free parallel decoding for masked diffusion language models.

Importing it loads the compiled operators, which also registers ``torch.ops.unmask.*``.
Without torch only :mod:`unmask.arrays` (the operators on numpy arrays) is available.
"""

import importlib.util
from importlib.metadata import PackageNotFoundError, version

try:
    from unmask import _C, arrays
except ImportError as error:
    raise ImportError(
        "unmask's compiled half is missing or does not fit this Python: "
        f"{error}. Build it with: pip install --no-build-isolation -e ."
    ) from error

try:
    __version__ = version("unmask")
except PackageNotFoundError:  # run from a build folder, not installed
    __version__ = _C.build_facts()["version"]

__all__ = [
    "__version__",
    "arrays",
    "TopKConfidence",
    "commit_",
    "dapd_select",
    "independent_set",
    "kl_divergence",
    "masked_positions",
    "select",
    "topk_confidence",
]

if importlib.util.find_spec("torch") is not None:
    from unmask.ops import (
        TopKConfidence,
        commit_,
        dapd_select,
        independent_set,
        kl_divergence,
        masked_positions,
        select,
        topk_confidence,
    )
else:

    def __getattr__(name: str) -> object:
        if name in __all__:
            raise ImportError(
                f"unmask.{name} needs torch, which is not installed: pip install torch, then "
                "build unmask again. Without torch, unmask.arrays has the operators for numpy."
            )
        raise AttributeError(f"module 'unmask' has no attribute '{name}'")
