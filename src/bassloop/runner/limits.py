"""Limits of one command on the machine that it runs on."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

DEFAULT_PIDS = 2_048
DEFAULT_FILE_SIZE = 8 << 30
KEEP_FREE = 1 << 30
KEEP_FREE_PART = 20


@dataclass(frozen=True, slots=True)
class CommandLimits:
    """The limits of a command, with all that it starts; None is no limit.

    Args:
        cpus: processors.
        memory: bytes.
        pids: processes and threads.
        file_size: bytes of one file.
    """

    cpus: float | None = None
    memory: int | None = None
    pids: int | None = None
    file_size: int | None = None

    def __str__(self) -> str:
        texts = [
            None if self.cpus is None else f"{self.cpus:g} processors",
            None if self.memory is None else f"{size_text(self.memory)} of memory",
            None if self.pids is None else f"{self.pids:,} processes",
            None if self.file_size is None else f"files of {size_text(self.file_size)}",
        ]
        return ", ".join(text for text in texts if text is not None) or "no limits"


NO_LIMITS = CommandLimits()


def default_limits() -> CommandLimits:
    """Return the limits of commands whose owner gives none: half of the memory, and what builds need."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return CommandLimits(memory=memory // 2, pids=DEFAULT_PIDS, file_size=DEFAULT_FILE_SIZE)


def size_text(size: int) -> str:
    """Return a number of bytes for people."""
    for unit, exponent in (("GiB", 30), ("MiB", 20), ("KiB", 10)):
        if size >= 1 << exponent:
            return f"{size / (1 << exponent):.3g} {unit}"
    return f"{size:,} bytes"


def is_nearly_full(folder: Path) -> bool:
    """Return whether a folder's disk has less room than commands have to leave: 1 GiB, or a twentieth."""
    usage = shutil.disk_usage(folder)
    return usage.free < min(KEEP_FREE, usage.total // KEEP_FREE_PART)
