"""Checks of plain arguments, alike everywhere: name, rule, what was received."""

import math
from collections.abc import Sequence
from numbers import Integral, Real


def require_number(
    name: str, value: object, *, most: float = math.inf, positive: bool = False
) -> None:
    """A finite number in [0, most], or in (0, most] if it must be positive; else ValueError."""
    number = float(value) if isinstance(value, Real) and not isinstance(value, bool) else math.nan
    if math.isfinite(number) and 0 <= number <= most and not (positive and number == 0):
        return
    if most == math.inf:
        rule = "a finite number > 0" if positive else "a finite number >= 0"
    else:
        rule = f"a number in {'(' if positive else '['}0, {most:g}]"
    raise ValueError(f"{name} must be {rule}, got {value!r}")


def require_count(name: str, value: object, *, least: int) -> None:
    """An int, at least `least`, or ValueError."""
    if not isinstance(value, Integral) or isinstance(value, bool) or int(value) < least:
        raise ValueError(f"{name} must be an int >= {least}, got {value!r}")


def require_one_of(name: str, value: object, choices: Sequence[object]) -> None:
    """One of the choices, or ValueError."""
    if value not in choices:
        listed = ", ".join(map(repr, choices))
        raise ValueError(f"{name} must be one of {listed}, got {value!r}")


def require_layers(name: str, value: object) -> None:
    """A fraction in (0, 1] or a list of layer numbers, or ValueError."""
    if isinstance(value, Real) and not isinstance(value, bool):
        good = 0 < float(value) <= 1
    else:
        good = (
            isinstance(value, Sequence)
            and len(value) > 0
            and all(isinstance(layer, Integral) and not isinstance(layer, bool) for layer in value)
            and len(set(value)) == len(value)
        )
    if not good:
        raise ValueError(
            f"{name} must be a fraction in (0, 1] or a list of different ints, got {value!r}"
        )
