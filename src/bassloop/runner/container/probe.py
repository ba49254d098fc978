"""Finds a container engine, and the way in which it works on this machine.

Some machines have no control groups of the second version, lower limits than the engine's, or no
bridge: what is refused is tried in another way, from the best to the least, and what came out is said.
"""

from __future__ import annotations

import json
import resource
import shutil
import tarfile
from dataclasses import replace
from io import BytesIO
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import trio

from bassloop.runner.container.engine import ContainerEngine, ContainerLimits, EngineError, Kind
from bassloop.runner.container.spec import limits_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

PROBE = "localhost/bassloop-probe:1"
NOTHING = "/bassloop-probe"
"""A program that is not there: that it is missed shows that all the rest works."""
LOWER = (None, 32_768, 1_024)
"""Limits to try where an engine's own are refused."""
OLDEST = {"podman": (4, 0), "docker": (20, 10)}


async def find(kind: Kind | None = None, *, network: bool = True) -> ContainerEngine | str:
    """An engine that was tried and works here, Podman before Docker; or why there is none."""
    reasons = []
    for each in (kind,) if kind else ("podman", "docker"):
        path = shutil.which(each)
        if path is None:
            reasons.append(f"{each} is not installed")
            continue
        try:
            found = await _look(ContainerEngine(path, each))
            return await _adapt(found, network=network)
        except EngineError as error:
            reasons.append(f"{each} does not work here: {error}")
    return "; ".join(reasons)


async def _look(engine: ContainerEngine) -> ContainerEngine:
    """What the engine says of itself. Raises EngineError."""
    info = await engine.ask("info", "--format", "{{json .}}", seconds=20)
    try:
        answer = json.loads(info)
        version, rootless = _parse(engine.kind, answer)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise EngineError("its answer to `info` is not understood") from error
    if engine.kind == "docker" and answer.get("ServerErrors"):
        raise EngineError(str(answer["ServerErrors"][0]))
    numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
    if numbers < OLDEST[engine.kind]:
        oldest = ".".join(map(str, OLDEST[engine.kind]))
        raise EngineError(f"it is version {version}; {oldest} is the oldest that will do")
    return replace(engine, version=version, rootless=rootless, index=_index(answer))


def _parse(kind: Kind, info: dict[str, Any]) -> tuple[str, bool]:
    """The version, and whether it is rootless."""
    if kind == "podman":
        return str(info["version"]["Version"]), bool(info["host"]["security"]["rootless"])
    options = info.get("SecurityOptions") or ()
    return str(info.get("ServerVersion") or "0"), any("rootless" in each for each in options)


def _index(info: dict[str, Any]) -> Path | None:
    """Where Podman names its images; None when that can't be told, as of Docker's daemon."""
    match info.get("store"):
        case {"graphRoot": str(root), "graphDriverName": str(driver)}:
            path = Path(root) / f"{driver}-images" / "images.json"
            return path if path.is_file() else None
    return None


async def _adapt(engine: ContainerEngine, *, network: bool) -> ContainerEngine:
    """The engine with the options that it needs here. Raises EngineError."""
    try:
        await engine.ask("image", "inspect", PROBE)
    except EngineError:
        await engine.ask("import", "-", PROBE, stdin=_empty_tar())
    last = EngineError("it runs no container")
    for options, ulimits in _ways(engine):
        tried = replace(engine, options=options, ulimits=ulimits)
        try:
            await _try(tried, "none")
        except EngineError as error:
            last = error
            continue
        return await _connect(tried) if network else tried
    raise last


def _ways(engine: ContainerEngine) -> Iterator[tuple[tuple[str, ...], tuple[str, ...]]]:
    """Options for all calls and limits for containers, as the engine would have it first."""
    options: list[tuple[str, ...]] = [()]
    if engine.kind == "podman":
        options.append(("--cgroup-manager=cgroupfs",))
        for runtime in filter(None, map(shutil.which, ("crun", "runc"))):
            options += [("--runtime", runtime), ("--runtime", runtime, "--cgroup-manager=cgroupfs")]
    yield from product(options, [(), *map(own_ulimits, LOWER)])


def own_ulimits(most: int | None = None) -> tuple[str, ...]:
    """This process' own limits, which nothing that it starts may exceed; no higher than `most`."""
    found = []
    for name, number in (("nofile", resource.RLIMIT_NOFILE), ("nproc", resource.RLIMIT_NPROC)):
        hard = resource.getrlimit(number)[1]
        known = [each for each in (hard, most) if each not in (None, resource.RLIM_INFINITY)]
        if known:
            limit = min(filter(None, known))
            found.append(f"{name}={limit}:{limit}")
    return tuple(found)


async def _connect(engine: ContainerEngine) -> ContainerEngine:
    """The engine with the network that works best. Raises EngineError."""
    names = ["slirp4netns", "pasta"] if engine.kind == "podman" else []
    names = [*names, "bridge", "host"] if engine.rootless else ["bridge", *names, "host"]
    last = EngineError("no network works")
    for name in names:
        try:
            await _try(engine, name)
        except EngineError as error:
            last = error
        else:
            return replace(engine, network=name)
    raise last


async def try_limits(engine: ContainerEngine, limits: ContainerLimits) -> None:
    """Start a container with these limits. Raises EngineError when the engine can't hold it to them.

    Rootless Podman ignores what it can't do, with a warning: it is asked which control groups it has.
    """
    if engine.kind == "podman" and engine.rootless:
        _check_controllers(await engine.ask("info", "--format", "{{json .}}", seconds=20), limits)
    await _try(engine, "none", limits_of(limits))


def _check_controllers(info: str, limits: ContainerLimits) -> None:
    host = json.loads(info)["host"]
    wanted = {"cpu": limits.cpus, "memory": limits.memory, "pids": limits.pids}
    missing = {name for name, limit in wanted.items() if limit is not None}
    if host.get("cgroupVersion") == "v2":
        missing -= set(host.get("cgroupControllers") or ())
    if missing:
        raise EngineError(
            f"rootless, it has no control group for {' and '.join(sorted(missing))} here (version "
            f"{host.get('cgroupVersion', 'unknown')})"
        )


async def _try(engine: ContainerEngine, network: str, more: Sequence[str] = ()) -> None:
    """Start a container that has nothing in it. Raises EngineError when it does not get that far."""
    words = ["run", "--rm", "--network", network, *more]
    for limit in engine.ulimits:
        words += ["--ulimit", limit]
    try:
        await engine.ask(*words, PROBE, NOTHING, seconds=30)
    except EngineError as error:
        text = str(error)
        if NOTHING in text and "no such file" in text.lower():
            return
        raise
    except trio.TooSlowError as error:
        raise EngineError("it does not end") from error


def _empty_tar() -> bytes:
    buffer = BytesIO()
    with tarfile.open(fileobj=buffer, mode="w"):
        pass
    return buffer.getvalue()
