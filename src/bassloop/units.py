"""Durations and sizes as people write and read them: settings, options, TOML files and pages all use these."""

from __future__ import annotations

import re

DURATION_EXAMPLES = "30s, 10m, 1h 30m, 12h or 30d"
SIZE_EXAMPLES = "500MB, 2GiB, 512m or 1000000"

_SECONDS = {"": 1.0, "ms": 0.001, "s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400, "w": 604800}
_BYTES = {
    "": 1,
    "b": 1,
    **{unit: 1000**power for power, unit in enumerate(("kb", "mb", "gb", "tb"), 1)},
    **{unit: 1024**power for power, unit in enumerate("kmgt", 1)},
    **{unit: 1024**power for power, unit in enumerate(("kib", "mib", "gib", "tib"), 1)},
}
_AMOUNT = re.compile(r"(\d{1,15}(?:\.\d{1,9})?)\s*([A-Za-z]*)", re.ASCII)
_SEPARATOR = re.compile(r"\s*")


def parse_duration(text: str) -> float:
    """Parse a duration such as ``90``, ``10m`` or ``1h 30m``, and return it in seconds.

    Raises ValueError, whose message has examples.
    """
    total, position = 0.0, 0
    text = text.strip()
    while position < len(text) or not position:
        match = _AMOUNT.match(text, position)
        unit = match[2].lower() if match else ""
        # A number without a unit stands alone: "1h 30" may mean minutes or seconds.
        if (
            match is None
            or unit not in _SECONDS
            or (not unit and len(match[0].rstrip()) < len(text))
        ):
            raise ValueError(f"{text[:40]!r} is not a duration, such as {DURATION_EXAMPLES}")
        total += float(match[1]) * _SECONDS[unit]
        separator = _SEPARATOR.match(text, match.end())
        position = separator.end() if separator else match.end()
    return total


def parse_size(text: str) -> int:
    """Parse a size such as ``2000000``, ``500MB`` or ``2GiB``, and return it in bytes.

    ``k``, ``m``, ``g`` and ``t`` are powers of 1024, as in Docker's and Podman's options; ``kb`` and so on are
    powers of 1000. Raises ValueError, whose message has examples.
    """
    match = _AMOUNT.fullmatch(text.strip())
    unit = match[2].lower() if match else ""
    if match is None or unit not in _BYTES:
        raise ValueError(f"{text[:40]!r} is not a size, such as {SIZE_EXAMPLES}")
    return int(float(match[1]) * _BYTES[unit]) if "." in match[1] else int(match[1]) * _BYTES[unit]


def write_duration(seconds: float) -> str:
    """Return the shortest text that `parse_duration` reads as this duration, such as ``10m``."""
    for unit in ("w", "d", "h", "m", "s"):
        count = seconds / _SECONDS[unit]
        if count and count == int(count):
            return f"{int(count)}{unit}"
    return f"{seconds:g}s"


def write_size(count: int) -> str:
    """Return the shortest text that `parse_size` reads as this size, such as ``4MiB``."""
    for unit in ("TiB", "GiB", "MiB", "KiB", "TB", "GB", "MB", "KB"):
        factor = _BYTES[unit.lower()]
        if count and count % factor == 0:
            return f"{count // factor}{unit}"
    return str(count)


def format_duration(seconds: float) -> str:
    """Return seconds as ``0.4 s``, ``12 s``, ``3 min 5 s``, ``2 h 4 min`` or ``3 d 2 h``."""
    if seconds < 10:
        return f"{max(seconds, 0.0):.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    if whole < 2 * 86400:
        return f"{whole // 3600} h {whole % 3600 // 60} min"
    return f"{whole // 86400} d {whole % 86400 // 3600} h"


def format_size(count: float) -> str:
    """Return bytes as ``12 bytes``, ``3.4 MB`` or ``1.0 GB``."""
    if count < 1000:
        return f"{count:.0f} bytes"
    for unit in ("KB", "MB"):
        count /= 1000
        if round(count, 1) < 1000:
            return f"{count:.1f} {unit}"
    return f"{count / 1000:.1f} GB"
