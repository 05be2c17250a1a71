"""TOML, read by what Python has and written by the few rules that settings need."""

import json
import math
import sys
from collections.abc import Mapping, Sequence
from numbers import Integral, Real
from pathlib import Path
from typing import Any

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

BARE = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-")


def read_toml(path: str | Path) -> dict[str, Any]:
    """The tables of a file.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not TOML; says where.
    """
    try:
        tables: dict[str, Any] = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} must be TOML, got a file that is not: {error}") from error
    return tables


def to_toml(table: Mapping[str, Any], name: str = "") -> str:
    """A table as text, its own values first, then the tables in it. None is left out.

    Raises:
        ValueError: a value is neither text, number, bool, list of these nor table.
    """
    plain = {key: value for key, value in table.items() if not isinstance(value, Mapping)}
    lines = [f"[{name}]"] if name and (plain or not table) else []
    lines += [f"{_key(k)} = {_value(k, v)}" for k, v in plain.items() if v is not None]
    parts = ["".join(line + "\n" for line in lines)] if lines else []
    for key, value in table.items():
        if isinstance(value, Mapping):
            parts.append(to_toml(value, f"{name}.{_key(key)}" if name else _key(key)))
    return "\n".join(parts)


def _key(name: str) -> str:
    return name if name and set(name) <= BARE else _text(name)


def _text(value: str) -> str:
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007F")


def _value(key: str, value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, Integral):
        return str(int(value))
    if isinstance(value, Real):
        number = float(value)
        return repr(number) if math.isfinite(number) else str(number)  # both are TOML
    if isinstance(value, Sequence):
        return "[" + ", ".join(_value(key, each) for each in value) + "]"
    raise ValueError(f"{key} must be text, a number, a bool or a list of these, got {value!r}")
