"""Check everything that a runner needs: keys, host, driver, limits, folder, secrets, clock."""

from __future__ import annotations

import resource
import shutil
import time
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

import httpx
import trio

from bassloop.bridge import open_bridge
from bassloop.bridge.grpc import open_grpc_server
from bassloop.private_files import make_private_folder
from bassloop.runner import ssh_client
from bassloop.runner.container.container_engine import ContainerEngine
from bassloop.runner.driver_choice import (
    container_limits,
    container_warnings,
    find_engine,
    find_sandbox,
    host_warnings,
)
from bassloop.runner.errors import RunnerError
from bassloop.runner.secrets import SecretError, SecretStore
from bassloop.runner.ssh_client import DialError, Dialler

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from bassloop.runner.host.sandbox import Sandbox
    from bassloop.runner.options import RunnerOptions

CLOCK_SECONDS = 30.0
CLOCK_TIMEOUT = 5.0
ENOUGH_ROOM = 1 << 30


@dataclass(frozen=True, slots=True)
class PreflightResult:
    """The result of one check. If it failed, the text names the fix.

    Args:
        good: whether it passed; None if it wasn't made.
    """

    what: str
    good: bool | None
    text: str


async def check_runner(options: RunnerOptions) -> AsyncGenerator[PreflightResult]:
    """Check everything that a runner needs. Logs in to the loop, but doesn't register.

    Without a host in the options, only this machine is checked.
    """
    keys = await _keys(options)
    yield keys
    if not options.host:
        yield PreflightResult("host", None, "name the loop as well, as in LOGIN@loop.example.com")
    elif not keys.good:
        yield PreflightResult("host", None, "it takes a key to log in")
    else:
        yield await _host(options)
    try:
        engine = await find_engine(options)
        box = None if isinstance(engine, ContainerEngine) else await find_sandbox(options)
    except RunnerError as error:
        yield PreflightResult("driver", False, str(error))
    else:
        yield _driver(options, engine, box)
        yield await _limits(options, engine, box)
    yield await _folder(options)
    yield await _secrets(options)
    yield await _clock("https://api.github.com")


async def _keys(options: RunnerOptions) -> PreflightResult:
    try:
        loaded = await trio.to_thread.run_sync(ssh_client.load, options)
    except RunnerError as error:
        return PreflightResult("keys", False, str(error))
    texts = [str(path) for path in loaded.paths]
    if (agent := ssh_client.agent_path(options)) is not None:
        texts.append(f"the agent's ({agent})")
    texts += [f"({text})" for text in loaded.skipped]
    if not texts:
        return PreflightResult(
            "keys", False, "none; make one with ssh-keygen, and add it on GitHub"
        )
    return PreflightResult("keys", True, ", ".join(texts))


async def _host(options: RunnerOptions) -> PreflightResult:
    warnings: list[str] = []
    try:
        async with (
            open_bridge(),
            open_grpc_server([]) as session,
            Dialler(options, session, warn=warnings.append).dial(),
        ):
            return PreflightResult(
                "host", True, f"{options.address} is known, and accepts your key"
            )
    except (DialError, RunnerError) as error:
        return PreflightResult("host", False, "; ".join([str(error), *warnings]))


def _driver(
    options: RunnerOptions, engine: ContainerEngine | str, box: Sandbox | None
) -> PreflightResult:
    if isinstance(engine, ContainerEngine):
        texts = [f"containers of {engine}, network {engine.network}"]
        if engine.options or engine.ulimits:
            needed = " ".join([*engine.options, *engine.ulimits])
            texts.append(f"as it works here only with {needed}")
        texts += container_warnings(options, engine)[1:]
        return PreflightResult("driver", True, "; ".join(texts))
    if box is None:
        return PreflightResult("driver", True, f"host: {host_warnings(options, None)[0]}")
    texts = [f"host, contained: {'; '.join(box.describe())}", *([engine] if engine else [])]
    return PreflightResult("driver", True, "; ".join(texts))


async def _limits(
    options: RunnerOptions, engine: ContainerEngine | str, box: Sandbox | None
) -> PreflightResult:
    """Try the limits of a command, and report those of this process."""
    files, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    texts = [f"{files:,} open files (at most {most:,})"] if most != resource.RLIM_INFINITY else []
    texts.append(f"{options.jobs or 'any number of'} thunks at once")
    try:
        if isinstance(engine, ContainerEngine):
            texts.append((await container_limits(options, engine))[1])
        elif box is not None:
            texts.append(f"a command has {box.holder.describe(box.limits)}")
        else:
            texts.append("a command has no limits, as it is not contained")
    except RunnerError as error:
        return PreflightResult("limits", False, str(error))
    return PreflightResult("limits", True, "; ".join(texts))


async def _secrets(options: RunnerOptions) -> PreflightResult:
    store = SecretStore(options.secrets_file)

    def check() -> PreflightResult:
        try:
            found = store.entries()
            for each in found:
                store.value(each)
        except SecretError as error:
            return PreflightResult("secrets", False, str(error))
        for_all = [each.name for each in found if not each.only]
        text = f"{len(found)} in {store.path}" if found else "none"
        if for_all and not options.only:
            return PreflightResult(
                "secrets", True, f"{text}; every repository gets {', '.join(for_all)}"
            )
        return PreflightResult("secrets", True, text)

    return await trio.to_thread.run_sync(check)


async def _folder(options: RunnerOptions) -> PreflightResult:
    def free_bytes() -> int:
        make_private_folder(options.state)
        return shutil.disk_usage(options.state).free

    try:
        free = await trio.to_thread.run_sync(free_bytes)
    except OSError as error:
        return PreflightResult(
            "folder", False, f"{options.state} can't be written: {error.strerror}"
        )
    text = f"{options.state}, {free >> 20:,} MiB free"
    if free < ENOUGH_ROOM:
        return PreflightResult("folder", False, f"{text}; make room for {ENOUGH_ROOM >> 20:,} MiB")
    return PreflightResult("folder", True, text)


async def _clock(url: str) -> PreflightResult:
    try:
        async with httpx.AsyncClient(timeout=CLOCK_TIMEOUT) as client:
            there = parsedate_to_datetime((await client.head(url)).headers["date"]).timestamp()
    except (httpx.HTTPError, KeyError, ValueError) as error:
        return PreflightResult(
            "clock", None, f"not compared: {url} can't be asked ({type(error).__name__})"
        )
    off = time.time() - there
    if abs(off) > CLOCK_SECONDS:
        return PreflightResult(
            "clock", False, f"{off:+.0f} s off; let it follow a time server (NTP)"
        )
    return PreflightResult("clock", True, f"agrees with {url}")
