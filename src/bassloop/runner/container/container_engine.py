"""A container engine: its program, its capabilities on this machine, and finding them out.

Some machines have no cgroups v2, lower limits than the engine's defaults, or no bridge. If the engine refuses a
container, other options are tried, from the best to the least.
"""

from __future__ import annotations

import json
import os
import resource
import secrets
import shutil
import tarfile
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from io import BytesIO
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import structlog
import trio

from bassloop.concurrency import Backoff, retry, shielded
from bassloop.runner.errors import DriverError
from bassloop.runner.process import PROBE_PREFIX, is_left_probe

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from bassloop.runner.options import CommandLimits, NetworkMode

log = structlog.get_logger(__name__)

Kind = Literal["podman", "docker"]
KINDS: tuple[Kind, ...] = ("podman", "docker")

START_SECONDS = 60.0
"""How long an engine may take to describe itself, or to start an empty container, on a busy machine."""
REMOVE_SECONDS = 60.0
_REMOVE_BACKOFF = Backoff(0.1, 0.1)
_MAX_MESSAGE = 500

PROBE_IMAGE = "localhost/bassloop-probe:1"
NOTHING = "/bassloop-probe"
"""A program that doesn't exist. If it's the only error that it's missing, containers work."""
PROBE_LABEL = "bassloop.probe"
"""The label of containers that were started only as a probe; its value is the machine's name."""
LOWER = (None, 32_768, 1_024)
"""Limits to try if the engine's own are refused."""
OLDEST = {"podman": (4, 0), "docker": (20, 10)}


class EngineError(DriverError):
    """The engine reported an error; the message is its own."""


@dataclass(frozen=True, slots=True)
class ContainerEngine:
    """Podman or Docker, with the options that work on this machine.

    Args:
        options: come first in every command line.
        ulimits: set for every container, because it can't raise them itself.
        network: how containers reach the network; ``none`` if they don't.
        rootless: whether root in a container is this user.
        seccomp: whether containers have the engine's seccomp filter.
        index: the file that lists its images, and is replaced whenever one changes.
    """

    program: str
    kind: Kind
    version: str = ""
    options: tuple[str, ...] = ()
    ulimits: tuple[str, ...] = ()
    network: str = "none"
    rootless: bool = False
    seccomp: bool = True
    index: Path | None = None

    def __str__(self) -> str:
        how = "rootless " if self.rootless else ""
        return f"{how}{self.kind} {self.version}".strip()

    def command(self, *words: str) -> list[str]:
        """Return a command line of its program. Podman's warnings, which would mix with a thunk's output, are off."""
        quiet = ["--log-level=error"] if self.kind == "podman" else []
        return [self.program, *quiet, *self.options, *words]

    async def ask(
        self,
        *words: str,
        stdin: bytes = b"",
        env: Mapping[str, str] | None = None,
        seconds: float = 120,
    ) -> str:
        """Run the program, and return its standard output. Raises EngineError."""
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
            raise EngineError(last_message(done.stderr) or f"{self.kind} {words[0]} failed")
        return done.stdout.decode(errors="replace")

    async def remove_container(self, name: str) -> None:
        """Remove a container, if it exists, with all its processes and mounts.

        It is removed even if this is cancelled, which takes at most a minute. Raises EngineError.
        """
        words = ["rm", "--force", "--volumes"]
        if self.kind == "podman":
            words += ["--time", "0", "--ignore"]
        remove = partial(self.ask, *words, name, seconds=REMOVE_SECONDS)
        with shielded(REMOVE_SECONDS) as scope:
            try:
                await retry(remove, _REMOVE_BACKOFF, retry_after=_retry_removal)
            except EngineError as error:
                if not is_missing(error):
                    raise
        if scope.cancelled_caught:
            log.warning("container not removed in time", name=name)


def _retry_removal(error: Exception) -> float | None:
    """Retry while something that shares the container's network or uses its mounts is still being removed."""
    return 0.0 if any(each in str(error) for each in ("depend", "busy")) else None


def last_message(stderr: bytes) -> str:
    """Return the last line of an engine's standard error, without its prefix."""
    lines = [line.strip() for line in stderr.decode(errors="replace").splitlines() if line.strip()]
    return lines[-1].removeprefix("Error: ").strip()[:_MAX_MESSAGE] if lines else ""


def is_missing(error: EngineError) -> bool:
    """Return whether the error means that an image or container doesn't exist."""
    text = str(error).lower()
    return any(each in text for each in ("no such", "not known", "no container with"))


# --- finding an engine that works ---------------------------------------------------------------------


def limit_options(limits: CommandLimits) -> list[str]:
    """Return the options that set a container's limits."""
    options = []
    if limits.cpus is not None:
        options += ["--cpus", f"{limits.cpus:g}"]
    if limits.memory is not None:
        options += ["--memory", str(limits.memory)]
    if limits.pids is not None:
        options += ["--pids-limit", str(limits.pids)]
    if limits.file_size is not None:
        options += ["--ulimit", f"fsize={limits.file_size}:{limits.file_size}"]
    return options


def installed_engines() -> list[ContainerEngine]:
    """Return the engines whose programs are installed, without checking whether they run containers."""
    found = ((kind, shutil.which(kind)) for kind in KINDS)
    return [ContainerEngine(path, kind) for kind, path in found if path is not None]


FIXES = {
    "newuidmap": "; install newuidmap (Debian's package uidmap, Fedora's shadow-utils)",
    "cannot connect to the docker daemon": "; start it, if you want to use it",
    "permission denied while trying to connect to the docker": "; be in the group docker, or use Podman",
}
"""Fixes, by a part of the engine's message in lower case."""

MAX_REASON = 160
"""How many characters of an engine's message are shown as the reason why it isn't used."""


async def find(
    kind: Kind | None = None,
    *,
    network: NetworkMode = "own",
    on_try: Callable[[Kind], None] = lambda kind: None,
) -> ContainerEngine | str:
    """Return an engine that works, trying Podman before Docker; or the reason why none does.

    It takes seconds, on a busy machine many, so `on_try` is called before each installed one is tried.
    """
    reasons = []
    for each in (kind,) if kind else KINDS:
        path = shutil.which(each)
        if path is None:
            reasons.append(f"{each} is not installed")
            continue
        on_try(each)
        try:
            engine, ways = await _describe(ContainerEngine(path, each))
            return await _adapt(engine, ways, network=network)
        except EngineError as error:
            fix = next((fix for text, fix in FIXES.items() if text in str(error).lower()), "")
            reason = str(error)
            reason = reason if len(reason) <= MAX_REASON else f"{reason[:MAX_REASON]}…"
            reasons.append(f"{each} does not work here: {reason}{fix}")
    return "; ".join(reasons)


async def _describe(engine: ContainerEngine) -> tuple[ContainerEngine, list[tuple[str, ...]]]:
    """Return the engine with what it reports about itself, and the options to try. Raises EngineError."""
    info = await engine.ask("info", "--format", "{{json .}}", seconds=START_SECONDS)
    try:
        answer = json.loads(info)
        described = _parse_info(engine, answer)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise EngineError("its answer to `info` can't be parsed") from error
    if engine.kind == "docker" and answer.get("ServerErrors"):
        raise EngineError(str(answer["ServerErrors"][0]))
    version = described.version
    numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
    if numbers < OLDEST[engine.kind]:
        oldest = ".".join(map(str, OLDEST[engine.kind]))
        raise EngineError(f"it is version {version}, but bassloop needs {oldest} or newer")
    return replace(described, index=_index(answer)), _ways(engine.kind, answer)


def _parse_info(engine: ContainerEngine, info: dict[str, Any]) -> ContainerEngine:
    """Return the engine with its version and security features."""
    if engine.kind == "podman":
        security = info["host"]["security"]
        return replace(
            engine,
            version=str(info["version"]["Version"]),
            rootless=bool(security["rootless"]),
            seccomp=bool(security.get("seccompEnabled", True)),
        )
    options = info.get("SecurityOptions") or ()
    return replace(
        engine,
        version=str(info.get("ServerVersion") or "0"),
        rootless=any("rootless" in each for each in options),
        seccomp=any("seccomp" in each and "unconfined" not in each for each in options),
    )


def _index(info: dict[str, Any]) -> Path | None:
    """Return the file in which Podman lists its images; None if it isn't known, as with Docker."""
    match info.get("store"):
        case {"graphRoot": str(root), "graphDriverName": str(driver)}:
            path = Path(root) / f"{driver}-images" / "images.json"
            return path if path.is_file() else None
    return None


async def _adapt(
    engine: ContainerEngine, ways: Sequence[tuple[str, ...]], *, network: NetworkMode
) -> ContainerEngine:
    """Return the engine with the options that it needs on this machine. Raises EngineError.

    Args:
        ways: options for the program, the best first.
    """
    try:
        await engine.ask("image", "inspect", PROBE_IMAGE)
    except EngineError:
        await engine.ask("import", "-", PROBE_IMAGE, stdin=_empty_tar())
    else:
        with suppress(EngineError):
            await remove_left_probes(engine)
    last = EngineError("it can't run containers")
    for options in ways:
        for ulimits in [(), *map(own_ulimits, LOWER)]:
            adapted = replace(engine, options=options, ulimits=ulimits)
            try:
                await _try(adapted, "none")
            except EngineError as error:
                last = error
                if "limit" not in str(error).lower():
                    break  # lower limits won't help
                continue
            if network == "own":
                return await _connect(adapted)
            return replace(adapted, network=network)
    raise last


def _ways(kind: Kind, info: dict[str, Any]) -> list[tuple[str, ...]]:
    """Return options for the program to try, its defaults first, and no others that mean the same."""
    if kind != "podman":
        return [()]
    host = info["host"]
    own = str((host.get("ociRuntime") or {}).get("path") or "")
    others = [path for path in map(shutil.which, ("crun", "runc")) if path and path != own]
    managers = (
        [()] if host.get("cgroupManager") == "cgroupfs" else [(), ("--cgroup-manager=cgroupfs",)]
    )
    runtimes = [(), *(("--runtime", path) for path in others)]
    return [(*runtime, *manager) for runtime, manager in product(runtimes, managers)]


def own_ulimits(most: int | None) -> tuple[str, ...]:
    """Return this process's own limits, which child processes can't exceed, or `most` if that is lower."""
    found = []
    for name, number in (("nofile", resource.RLIMIT_NOFILE), ("nproc", resource.RLIMIT_NPROC)):
        hard = resource.getrlimit(number)[1]
        known = [each for each in (hard, most) if each not in (None, resource.RLIM_INFINITY)]
        if known:
            limit = min(filter(None, known))
            found.append(f"{name}={limit}:{limit}")
    return tuple(found)


async def _connect(engine: ContainerEngine) -> ContainerEngine:
    """Return the engine with the best isolated network that works. Raises EngineError."""
    names = ["slirp4netns", "pasta"] if engine.kind == "podman" else []
    names = [*names, "bridge"] if engine.rootless else ["bridge", *names]
    last = EngineError("no network works")
    for name in names:
        try:
            await _try(engine, name)
        except EngineError as error:
            last = error
        else:
            return replace(engine, network=name)
    raise EngineError(
        f"containers can't have a network of their own: {last}; use --no-network or --network host instead"
    ) from last


async def try_limits(engine: ContainerEngine, limits: CommandLimits) -> None:
    """Start a container with these limits. Raises EngineError if the engine can't enforce them.

    Rootless Podman only warns about limits that it can't set, so it's asked which cgroup controllers it has.
    """
    if engine.kind == "podman" and engine.rootless:
        _check_controllers(
            await engine.ask("info", "--format", "{{json .}}", seconds=START_SECONDS), limits
        )
    await _try(engine, "none", limit_options(limits))


def _check_controllers(info: str, limits: CommandLimits) -> None:
    host = json.loads(info)["host"]
    wanted = {"cpu": limits.cpus, "memory": limits.memory, "pids": limits.pids}
    missing = {name for name, limit in wanted.items() if limit is not None}
    if host.get("cgroupVersion") == "v2":
        missing -= set(host.get("cgroupControllers") or ())
    if missing:
        raise EngineError(
            f"rootless, it has no cgroup controller for {' and '.join(sorted(missing))} here (version "
            f"{host.get('cgroupVersion', 'unknown')})"
        )


async def _try(engine: ContainerEngine, network: str, more: Sequence[str] = ()) -> None:
    """Start an empty container. Raises EngineError if that fails.

    The container is always removed, even if this is cancelled.
    """
    name = f"{PROBE_PREFIX}{os.getpid()}-{secrets.token_hex(4)}"
    words = ["run", "--rm", "--name", name, "--label", f"{PROBE_LABEL}={_machine()}"]
    words += ["--network", network, *more]
    for limit in engine.ulimits:
        words += ["--ulimit", limit]
    has_ended = False
    try:
        await engine.ask(*words, PROBE_IMAGE, NOTHING, seconds=START_SECONDS)
        has_ended = True
    except EngineError as error:
        has_ended = not isinstance(error.__cause__, trio.TooSlowError)
        text = str(error)
        if NOTHING in text and "no such file" in text.lower():
            return
        raise
    finally:
        if not has_ended:  # otherwise the engine has removed it
            await engine.remove_container(name)


async def remove_left_probes(engine: ContainerEngine) -> None:
    """Remove probe containers that a killed process has left. Raises EngineError."""
    label = f"label={PROBE_LABEL}={_machine()}"
    for name in (
        await engine.ask("ps", "--all", "--filter", label, "--format", "{{.Names}}")
    ).split():
        if is_left_probe(name):
            await engine.remove_container(name)


def _machine() -> str:
    return os.uname().nodename


def _empty_tar() -> bytes:
    buffer = BytesIO()
    with tarfile.open(fileobj=buffer, mode="w"):
        pass
    return buffer.getvalue()
