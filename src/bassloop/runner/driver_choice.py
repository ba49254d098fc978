"""Choose and open a driver, depending on a runner's options and on what this machine has."""

from __future__ import annotations

import os
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import trio

from bassloop.runner.cache_pruning import keep_within
from bassloop.runner.container import container_engine as engines
from bassloop.runner.container.container_driver import ContainerDriver, ContainerOptions
from bassloop.runner.container.container_engine import ContainerEngine, EngineError
from bassloop.runner.container.image_store import OwnImages
from bassloop.runner.errors import RunnerError
from bassloop.runner.host import sandbox
from bassloop.runner.host.host_driver import HostDriver, HostOptions
from bassloop.runner.host.own_programs import OwnPrograms
from bassloop.runner.options import CommandLimits
from bassloop.runner.runner_events import DriverChosen, EngineTried, RunnerEvent, Warned
from bassloop.runner.secrets import OwnerSecrets, SecretStore

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable
    from contextlib import AbstractAsyncContextManager

    from bassloop.runner.engine.thunk_driver import ThunkDriver
    from bassloop.runner.host.sandbox import Sandbox
    from bassloop.runner.options import RunnerOptions

IGNORED = "images are ignored: commands run with this machine's programs"
REFUSED = "thunks that name an image are refused, as there is no container engine: see --images"
UNCONTAINED = (
    "commands run as you, in a private folder but NOT CONTAINED: they can read and change all that you "
    "can, use your keys, reach what listens on this machine, and take all of its memory"
)
HOST_NETWORK = (
    "containers have this machine's network, and so reach what listens on its loopback addresses"
)
NO_SECCOMP = "the engine gives containers no seccomp filter, so they can make every system call"
INSECURE = (
    "thunks that ask for it get a privileged container, which is as good as this machine's root"
)


@asynccontextmanager
async def open_driver(
    options: RunnerOptions, on_event: Callable[[RunnerEvent], None] = lambda event: None
) -> AsyncGenerator[ThunkDriver[Any]]:
    """Open the driver, and prune its cache. Raises RunnerError if none can be used, and DriverError."""
    engine = await find_engine(options, on_event)
    secrets = OwnerSecrets(
        SecretStore(options.secrets_file),
        own_git=options.git_credentials,
        given=options.given_secrets,
    )
    opened: AbstractAsyncContextManager[ThunkDriver[Any]]
    if isinstance(engine, ContainerEngine):
        containers = await _container_options(engine, options, secrets, on_event)
        opened = ContainerDriver.open(options.state, engine, containers)
        images = [OwnImages(engine, options.state)]
    else:
        host = await _host_options(engine, options, secrets, on_event)
        opened = HostDriver.open(options.state, host)
        images = []
    async with opened as driver, trio.open_nursery() as nursery:
        if options.disk is not None:
            nursery.start_soon(keep_within, driver.cache, options.disk, images)
        yield driver
        nursery.cancel_scope.cancel()


async def _host_options(
    no_engine: str,
    options: RunnerOptions,
    secrets: OwnerSecrets,
    on_event: Callable[[RunnerEvent], None],
) -> HostOptions:
    """Return the host driver's options, after reporting them. `no_engine` is why there are no containers."""
    box = await find_sandbox(options)
    if box is None:
        text = "commands run as you, on this machine itself"
        on_event(DriverChosen("host", text, no_engine))
    else:
        text = "commands run in a sandbox, with this machine's own programs"
        on_event(DriverChosen("sandbox", text, no_engine))
    on_event(Warned(IGNORED if options.images == "ignore" else REFUSED))
    for warning in host_warnings(options, box):
        on_event(Warned(warning))
    own = OwnPrograms.of(os.environ, sandbox.SYSTEM) if options.own_programs else OwnPrograms()
    return HostOptions(
        on_event=on_event,
        secrets=secrets,
        allow_host_path=options.allow_host_path,
        jobs=options.jobs,
        sandbox=box,
        refuse_images=options.images == "refuse",
        own_programs=own,
    )


async def _container_options(
    engine: ContainerEngine,
    options: RunnerOptions,
    secrets: OwnerSecrets,
    on_event: Callable[[RunnerEvent], None],
) -> ContainerOptions:
    """Return the container driver's options, after reporting them."""
    limits, text = await container_limits(options, engine)
    on_event(DriverChosen(engine.kind, f"commands run in containers of {engine}"))
    for warning in (*container_warnings(options, engine), text):
        on_event(Warned(warning))
    return ContainerOptions(
        on_event=on_event,
        secrets=secrets,
        allow_host_path=options.allow_host_path,
        jobs=options.jobs,
        limits=limits,
        allow_insecure=options.allow_insecure,
        publish_to=options.publish,
        reachable=options.reachable,
    )


def served_rules(options: RunnerOptions, driver: ThunkDriver[Any]) -> tuple[str, ...]:
    """Return the rules for the repositories that are served.

    If commands are not contained and the owner says nothing else, those are the owner's own.
    """
    if options.only or options.allow_foreign or driver.is_contained:
        return options.only
    return (f"{options.login}/*",)


# --- what the owner should know ------------------------------------------------------------------------


def host_warnings(options: RunnerOptions, box: Sandbox | None) -> list[str]:
    """Return what the owner should know about running commands on the host like this."""
    if box is not None:
        held = box.holder.describe(box.limits)
        return [f"commands are contained: {'; '.join(box.describe())}", f"a command has {held}"]
    if options.only or options.allow_foreign:
        return [f"{UNCONTAINED}. Serve only repositories that you trust"]
    return [
        f"{UNCONTAINED}. So only repositories of {options.login} are served; --only OWNER/REPO names "
        "others that you trust, and --allow-foreign serves all"
    ]


def container_warnings(options: RunnerOptions, engine: ContainerEngine) -> list[str]:
    """Return what the owner should know about running containers like this."""
    found = [f"thunks run in containers of {engine}"]
    if engine.network == "host":
        found.append(HOST_NETWORK)
    if not engine.seccomp:
        found.append(NO_SECCOMP)
    if options.allow_insecure:
        found.append(INSECURE)
    return found


def requested_limits(options: RunnerOptions) -> dict[str, str]:
    """Return the given options that limit a command with its child processes, by field."""
    return {
        name: f"--{name}"
        for name in ("cpus", "memory", "pids")
        if getattr(options, name) is not None
    }


async def container_limits(
    options: RunnerOptions, engine: ContainerEngine
) -> tuple[CommandLimits, str]:
    """Return the limits that the engine can enforce, and a sentence about them.

    Raises RunnerError if it can't enforce limits that were given.
    """
    limits = options.limits
    try:
        await engines.try_limits(engine, limits)
    except EngineError as error:
        if requested := requested_limits(options).values():
            raise RunnerError(
                f"{' and '.join(requested)}: {engine} can't hold containers to limits: {error}. On a "
                "machine with control groups of version 2, delegate them to your user"
            ) from error
        limits = CommandLimits(file_size=limits.file_size)
        return limits, f"a command has {limits}: {engine} can't hold containers to others: {error}"
    return limits, f"a command has {limits}"


# --- what this machine has --------------------------------------------------------------------


async def find_engine(
    options: RunnerOptions, on_event: Callable[[RunnerEvent], None] = lambda event: None
) -> ContainerEngine | str:
    """Return the engine that the options ask for, or why there is none, so that commands run on the host.

    The reason is "" if the options ask for the host. Raises RunnerError if there is no engine, and the options
    require one.
    """
    if options.driver == "host":
        return ""
    found = await engines.find(
        options.engine,
        network=options.network,
        on_try=lambda kind: on_event(EngineTried(kind)),
    )
    if isinstance(found, ContainerEngine):
        return found
    if options.driver == "container":
        raise RunnerError(
            f"there is no container engine: {found}. Install or repair one, or run commands without containers "
            "(`bassloop try --engine sandbox`, `bassloop runner --driver host`)"
        )
    return found


async def find_sandbox(options: RunnerOptions) -> Sandbox | None:
    """Return the sandbox that the options ask for, or None.

    Raises RunnerError if one is required but not available, or if it can't enforce limits that were given.
    """
    if options.sandbox is False:
        if requested := requested_limits(options).values():
            raise RunnerError(
                f"{' and '.join(requested)} can't be held without containing commands"
            )
        return None
    # An address that one command in a sandbox can reach can be reached by all.
    network = "host" if options.reachable else options.network
    try:
        box = await sandbox.find(network, options.limits)
    except sandbox.SandboxMissing:
        if options.sandbox:
            raise
        try:  # this machine's network is better than no sandbox
            box = await sandbox.find("host", options.limits)
        except sandbox.SandboxMissing:
            return None
    missing = [
        option for name, option in requested_limits(options).items() if name not in box.holder.whole
    ]
    if missing:
        raise RunnerError(
            f"{' and '.join(missing)} can't be held on this machine, for which a command is counted with "
            "all that it starts: run the runner under a systemd of your user, or leave the limits out"
        )
    return box
