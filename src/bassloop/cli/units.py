"""Times and sizes as people write them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Mapping

_NUMBER = re.compile(r"(\d+(?:\.\d+)?)\s*([A-Za-z]*)\Z")


class _Amount(click.ParamType):  # type: ignore[type-arg]  # generic in new versions only
    def __init__(self, name: str, units: Mapping[str, int], example: str) -> None:
        self.name = name
        self._units = units
        self._example = example

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        if not isinstance(value, str):
            return float(value)
        found = _NUMBER.match(value.strip())
        unit = found[2].lower() if found else ""
        if found is None or unit not in self._units:
            self.fail(f"{value!r} is not like {self._example}", param, ctx)
        return float(found[1]) * self._units[unit]


DURATION = _Amount(
    "duration", {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}, "30d, 12h or 90m"
)
"""Seconds, from texts such as `30d`."""

SIZE = _Amount(
    "size",
    {
        "": 1,
        "b": 1,
        **{unit: 1000**n for n, unit in enumerate(("kb", "mb", "gb", "tb"), 1)},
        **{unit: 1024**n for n, unit in enumerate(("k", "m", "g", "t"), 1)},
        **{unit: 1024**n for n, unit in enumerate(("kib", "mib", "gib", "tib"), 1)},
    },
    "10GB, 500MiB or 2000000",
)
"""Bytes, from texts such as `10GB`."""


def bytes_said(count: float) -> str:
    """A number of bytes for people."""
    for unit in ("bytes", "KB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"
