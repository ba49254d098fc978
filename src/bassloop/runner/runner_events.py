"""Events on a runner, for its display and log. As text, each event is a sentence."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RunnerEvent:
    """Something that happened on a runner."""


@dataclass(frozen=True, slots=True)
class Connecting(RunnerEvent):
    """The runner is connecting."""

    address: str

    def __str__(self) -> str:
        return f"connecting to {self.address}"


@dataclass(frozen=True, slots=True)
class Registered(RunnerEvent):
    """The runner is registered, so the loop may send thunks."""

    address: str
    platform: str

    def __str__(self) -> str:
        return f"serving {self.platform} to {self.address}"


@dataclass(frozen=True, slots=True)
class Said(RunnerEvent):
    """The loop sent a message to the runner's owner."""

    text: str

    def __str__(self) -> str:
        return f"loop: {self.text}"


@dataclass(frozen=True, slots=True)
class Disconnected(RunnerEvent):
    """The connection was lost, or couldn't be established.

    Args:
        retry_in: seconds.
    """

    reason: str
    retry_in: float

    def __str__(self) -> str:
        return f"{self.reason}; trying again in {self.retry_in:.0f} s"


@dataclass(frozen=True, slots=True)
class EngineTried(RunnerEvent):
    """The runner began to check whether a container engine works, which takes seconds.

    Args:
        kind: `podman` or `docker`.
    """

    kind: str

    def __str__(self) -> str:
        return f"checking whether {self.kind} runs containers here"


@dataclass(frozen=True, slots=True)
class DriverChosen(RunnerEvent):
    """The way to run commands on this machine was chosen.

    Args:
        kind: `podman`, `docker`, `sandbox` or `host`.
        no_engine: why no container engine is used; "" if one is, or none was asked for.
    """

    kind: str
    text: str
    no_engine: str = ""

    def __str__(self) -> str:
        return f"{self.text} ({self.no_engine})" if self.no_engine else self.text


@dataclass(frozen=True, slots=True)
class Warned(RunnerEvent):
    """Something that the owner should know."""

    text: str

    def __str__(self) -> str:
        return f"warning: {self.text}"


@dataclass(frozen=True, slots=True)
class PullStarted(RunnerEvent):
    """An image is fetched from its registry."""

    image: str

    def __str__(self) -> str:
        return f"pulling {self.image}"


@dataclass(frozen=True, slots=True)
class PullEnded(RunnerEvent):
    """An image was fetched, or can't be.

    Args:
        took: seconds.
        error: None if it was fetched.
    """

    image: str
    took: float
    error: str | None

    def __str__(self) -> str:
        how = "pulled" if self.error is None else "couldn't pull"
        return f"{how} {self.image} after {self.took:.1f} s"


@dataclass(frozen=True, slots=True)
class ThunkStarted(RunnerEvent):
    """A command runs."""

    cmdline: str
    repository: str | None

    def __str__(self) -> str:
        return f"running {self.cmdline}" + (f" for {self.repository}" if self.repository else "")


@dataclass(frozen=True, slots=True)
class ThunkEnded(RunnerEvent):
    """A command has ended.

    Args:
        took: seconds.
        error: None if it succeeded.
    """

    cmdline: str
    took: float
    error: str | None

    def __str__(self) -> str:
        how = "done" if self.error is None else self.error.removesuffix(f": {self.cmdline}")
        return f"{how} after {self.took:.1f} s: {self.cmdline}"
