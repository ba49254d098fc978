"""What a runner needs, looked at one by one: keys, host, driver, clock. What is wrong comes with its mend."""

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
from bassloop.runner import ssh_keys
from bassloop.runner.container.engine import ContainerLimits, EngineError
from bassloop.runner.container.probe import try_limits
from bassloop.runner.driver_choice import find_engine, limits_asked, warnings
from bassloop.runner.host import sandbox
from bassloop.runner.options import RunnerError, RunnerOptions
from bassloop.runner.secrets import SecretError, SecretStore
from bassloop.runner.ssh import DialError, Dialler

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

CLOCK_SECONDS = 30.0
ROOM = 1 << 30


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    what: str
    good: bool
    text: str


async def check_runner(
    options: RunnerOptions, clock_url: str = "https://api.github.com"
) -> AsyncGenerator[Finding]:
    """Look at all that a runner needs; it logs in to the loop, and registers nothing.

    Args:
        clock_url: whose clock this machine's is compared with.
    """
    for look in (_keys, _host, _driver, _limits, _folder, _secrets):
        yield await look(options)
    yield await _clock(clock_url)


async def _keys(options: RunnerOptions) -> Finding:
    try:
        found, paths = await trio.to_thread.run_sync(ssh_keys.load, options)
    except RunnerError as error:
        return Finding("keys", False, str(error))
    said = [str(path) for path in paths]
    if (agent := ssh_keys.agent_path(options)) is not None:
        said.append(f"the agent's ({agent})")
    said += [f"({text})" for text in found.left_out]
    if not said:
        return Finding("keys", False, "none; make one with ssh-keygen, and add it on GitHub")
    return Finding("keys", True, ", ".join(said))


async def _host(options: RunnerOptions) -> Finding:
    warned: list[str] = []
    try:
        async with (
            open_bridge(),
            open_grpc_server([]) as session,
            Dialler(options, session, warned.append).dial(),
        ):
            return Finding("host", True, f"{options.address} is known, and takes your key")
    except (DialError, RunnerError) as error:
        return Finding("host", False, "; ".join([str(error), *warned]))


async def _driver(options: RunnerOptions) -> Finding:
    try:
        engine = await find_engine(options)
    except RunnerError as error:
        return Finding("driver", False, str(error))
    if engine is not None:
        said = [f"containers of {engine}, network {engine.network}"]
        if engine.options or engine.ulimits:
            needed = " ".join([*engine.options, *engine.ulimits])
            said.append(f"as it works here only with {needed}")
        if engine.network != "none":
            said += warnings(options, engine)[1:]
        return Finding("driver", True, "; ".join(said))
    if options.sandbox is False:
        return Finding(
            "driver",
            True,
            "host, NOT CONTAINED: every command of every repository that it serves can read and change "
            "all that you can, your keys among it",
        )
    found = await sandbox.find(network=options.network)
    if isinstance(found, str):
        mend = "install bubblewrap, or say --unsandboxed if you trust all that it serves"
        return Finding("driver", options.sandbox is None, f"host, not contained: {found}; {mend}")
    network = "with" if options.network else "without"
    return Finding("driver", True, f"host, contained by {found.program}, {network} the network")


async def _limits(options: RunnerOptions) -> Finding:
    """What one thunk may take, tried; and what this process itself is held to."""
    files, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    said = [f"{files:,} open files (at most {most:,})"] if most != resource.RLIM_INFINITY else []
    said.append(
        f"{options.jobs} thunks at once" if options.jobs else "any number of thunks at once"
    )
    asked = limits_asked(options)
    try:
        engine = await find_engine(options)
        if engine is None:
            good = not asked
            mend = "install Podman, or leave the limits out"
            said.append(f"{' and '.join(asked)} can't be held without containers; {mend}" if asked else
                        "what a command takes is not limited")  # fmt: skip
            return Finding("limits", good, "; ".join(said))
        await try_limits(engine, ContainerLimits(options.cpus, options.memory, options.pids))
    except EngineError as error:
        mend = "on a machine with control groups of version 2, delegate them to your user"
        return Finding("limits", False, f"{' and '.join(asked)} can't be held: {error}; {mend}")
    except RunnerError as error:
        return Finding("limits", False, str(error))
    said.append(
        f"a thunk is held to {', '.join(asked)}" if asked else "what a thunk takes is not limited"
    )
    return Finding("limits", True, "; ".join(said))


async def _secrets(options: RunnerOptions) -> Finding:
    store = SecretStore(options.secrets_file)

    def look() -> Finding:
        try:
            found = store.entries()
            for each in found:
                store.value(each)
        except SecretError as error:
            return Finding("secrets", False, str(error))
        for_all = [each.name for each in found if not each.only]
        text = f"{len(found)} in {store.path}" if found else "none"
        if for_all and not options.only:
            return Finding("secrets", True, f"{text}; every repository gets {', '.join(for_all)}")
        return Finding("secrets", True, text)

    return await trio.to_thread.run_sync(look)


async def _folder(options: RunnerOptions) -> Finding:
    def look() -> int:
        options.state.mkdir(parents=True, exist_ok=True, mode=0o700)
        return shutil.disk_usage(options.state).free

    try:
        free = await trio.to_thread.run_sync(look)
    except OSError as error:
        return Finding("folder", False, f"{options.state} can't be written: {error.strerror}")
    text = f"{options.state}, {free >> 20:,} MiB free"
    return Finding("folder", free >= ROOM, text if free >= ROOM else f"{text}; make some room")


async def _clock(url: str) -> Finding:
    try:
        async with httpx.AsyncClient(timeout=5) as client:
            there = parsedate_to_datetime((await client.head(url)).headers["date"]).timestamp()
    except (httpx.HTTPError, KeyError, ValueError) as error:
        return Finding(
            "clock", True, f"not compared: {url} can't be asked ({type(error).__name__})"
        )
    off = time.time() - there
    if abs(off) > CLOCK_SECONDS:
        return Finding("clock", False, f"{off:+.0f} s off; let it follow a time server (NTP)")
    return Finding("clock", True, f"agrees with {url}")
