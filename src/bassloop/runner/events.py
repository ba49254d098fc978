"""What happens on a runner, for whoever watches it. Printed, each is a sentence."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RunnerEvent:
    """Something that happened."""


@dataclass(frozen=True, slots=True)
class Connecting(RunnerEvent):
    """The runner dials."""

    address: str

    def __str__(self) -> str:
        return f"connecting to {self.address}"


@dataclass(frozen=True, slots=True)
class Registered(RunnerEvent):
    """The loop may send thunks."""

    address: str
    platform: str

    def __str__(self) -> str:
        return f"serving {self.platform} to {self.address}"


@dataclass(frozen=True, slots=True)
class Said(RunnerEvent):
    """The loop said something to the runner's user."""

    text: str

    def __str__(self) -> str:
        return f"loop: {self.text}"


@dataclass(frozen=True, slots=True)
class Disconnected(RunnerEvent):
    """The connection is gone, or could not be made. `retry_in` is in seconds."""

    reason: str
    retry_in: float

    def __str__(self) -> str:
        return f"{self.reason}; trying again in {self.retry_in:.0f} s"


@dataclass(frozen=True, slots=True)
class Warned(RunnerEvent):
    """Something that the owner should know."""

    text: str

    def __str__(self) -> str:
        return f"warning: {self.text}"


@dataclass(frozen=True, slots=True)
class ThunkStarted(RunnerEvent):
    """A command runs."""

    cmdline: str
    repository: str | None

    def __str__(self) -> str:
        return f"running {self.cmdline}" + (f" for {self.repository}" if self.repository else "")


@dataclass(frozen=True, slots=True)
class ThunkEnded(RunnerEvent):
    """A command is over. `error` is None when it succeeded; `took` is in seconds."""

    cmdline: str
    took: float
    error: str | None

    def __str__(self) -> str:
        how = "done" if self.error is None else self.error.removesuffix(f": {self.cmdline}")
        return f"{how} after {self.took:.1f} s: {self.cmdline}"
