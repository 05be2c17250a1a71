"""Settings of DAPD for a model, from a few prompts and no labels.

tau is a cliff, and where it lies differs from model to model; so do the layers that know what
depends on what. :func:`unmask.calibrate` asks the model itself which tokens move each other, and
sets both by that; ``unmask calibrate`` is the same on the command line.
"""

from unmask.calibration.errors import NotSeparableError
from unmask.calibration.result import Calibration
from unmask.calibration.search import calibrate
from unmask.calibration.separation import Rule, Separation
from unmask.calibration.settings import Settings
from unmask.calibration.verification import Trial

__all__ = [
    "Calibration",
    "NotSeparableError",
    "Rule",
    "Separation",
    "Settings",
    "Trial",
    "calibrate",
]
