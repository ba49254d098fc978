"""What a runtime serves and what a thunk asks for."""

from __future__ import annotations

import platform
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Platform:
    """An operating system and an architecture in Go's words, as in `linux/amd64`.

    In what is asked for, an empty part matches any.
    """

    os: str = ""
    arch: str = ""

    @classmethod
    def here(cls) -> Platform:
        """This machine's: Linux wherever there are containers, so also where they run in a Linux beside it."""
        machine = platform.machine().lower()
        return cls("linux", {"x86_64": "amd64", "aarch64": "arm64"}.get(machine, machine))

    def serves(self, wanted: Platform | None) -> bool:
        """Whether a runtime of this platform can carry out what asks for that one."""
        return wanted is None or (wanted.os in ("", self.os) and wanted.arch in ("", self.arch))

    def __str__(self) -> str:
        return f"{self.os or 'any'}/{self.arch or 'any'}"
