"""A container engine's program: how it is called, and what is known of it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import trio

from bassloop.runner.errors import DriverError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

Kind = Literal["podman", "docker"]

MAX_SAID = 500
ATTEMPTS = 40
PAUSE = 0.1


class EngineError(DriverError):
    """The engine refused; the message is what it said."""


@dataclass(frozen=True, slots=True)
class ContainerLimits:
    """What a container may take at most; None is no limit.

    Args:
        memory: in bytes.
        pids: processes and threads.
    """

    cpus: float | None = None
    memory: int | None = None
    pids: int | None = None


@dataclass(frozen=True, slots=True)
class ContainerEngine:
    """Podman or Docker, as far as it works here.

    Args:
        options: what every call begins with.
        ulimits: limits that every container is given, because it may not raise them.
        network: how containers reach the network; ``none`` when they do not.
        rootless: whether a container's root is this user.
        index: the file in which its images are named, which is replaced whenever one changes.
    """

    program: str
    kind: Kind
    version: str = ""
    options: tuple[str, ...] = ()
    ulimits: tuple[str, ...] = ()
    network: str = "none"
    rootless: bool = False
    index: Path | None = None

    def __str__(self) -> str:
        how = "rootless " if self.rootless else ""
        return f"{how}{self.kind} {self.version}".strip()

    def command(self, *words: str) -> list[str]:
        """A command line of its program; warnings of Podman's would stand among what a thunk says."""
        quiet = ["--log-level=error"] if self.kind == "podman" else []
        return [self.program, *quiet, *self.options, *words]

    async def ask(
        self,
        *words: str,
        stdin: bytes = b"",
        env: Mapping[str, str] | None = None,
        seconds: float = 120,
    ) -> str:
        """Call it, and return what it said on standard output. Raises EngineError."""
        try:
            with trio.fail_after(seconds):
                done = await trio.run_process(
                    self.command(*words),
                    stdin=stdin,
                    capture_stdout=True,
                    capture_stderr=True,
                    check=False,
                    env=None if env is None else {**os.environ, **env},
                )
        except OSError as error:
            raise EngineError(f"{self.program}: {error.strerror}") from error
        except trio.TooSlowError as error:
            raise EngineError(
                f"{self.kind} {words[0]} did not end within {seconds:.0f} s"
            ) from error
        if done.returncode:
            raise EngineError(said(done.stderr) or f"{self.kind} {words[0]} failed")
        return done.stdout.decode(errors="replace")

    async def try_remove(self, container: str) -> None:
        """Remove a container with all its processes and mounts; one that is not there is no error.

        Not to be interrupted: shielded, and over within a few seconds.
        """
        words = ["rm", "--force", "--volumes"]
        if self.kind == "podman":
            words += ["--time", "0", "--ignore"]
        with trio.CancelScope(shield=True):
            for attempt in range(ATTEMPTS):
                try:
                    await self.ask(*words, container, seconds=10)
                except EngineError as error:
                    if is_missing(error):
                        return
                    if "depend" not in str(error) or attempt == ATTEMPTS - 1:
                        raise
                    await trio.sleep(PAUSE)  # who shares its network is on its way out too
                else:
                    return


def said(stderr: bytes) -> str:
    """The last line of what an engine complained of, without its prefix."""
    lines = [line.strip() for line in stderr.decode(errors="replace").splitlines() if line.strip()]
    return lines[-1].removeprefix("Error: ").strip()[:MAX_SAID] if lines else ""


def is_missing(error: EngineError) -> bool:
    """Whether it complained of an image or container that is not there."""
    text = str(error).lower()
    return any(each in text for each in ("no such", "not known", "no container with"))
