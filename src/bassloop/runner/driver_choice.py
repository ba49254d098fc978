"""Choose the driver that a runner's options ask for and this machine has, and open it."""

from __future__ import annotations

from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import trio

from bassloop.runner.cache.pruning import keep_within
from bassloop.runner.container import container_engine as engines
from bassloop.runner.container.container_driver import ContainerDriver
from bassloop.runner.container.container_engine import ContainerEngine, ContainerLimits, EngineError
from bassloop.runner.container.image_store import OwnImages
from bassloop.runner.errors import RunnerError
from bassloop.runner.host import sandbox
from bassloop.runner.host.host_driver import HostDriver
from bassloop.runner.runner_events import RunnerEvent, Warned
from bassloop.runner.secrets import OwnerSecrets, SecretStore

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from bassloop.runner.engine.thunk_driver import ThunkDriver
    from bassloop.runner.options import RunnerOptions

IGNORED = "images are ignored: commands run with this machine's programs"
CONTAINED = "commands see the system read-only, and nothing of yours (bubblewrap)"
UNCONTAINED = (
    "commands run as you, in a private folder but NOT CONTAINED: they can read and change all that you "
    "can. Serve only repositories that you trust (--only OWNER/REPO)"
)
HOST_NETWORK = (
    "containers have this machine's network, and so reach what listens on its loopback addresses"
)
INSECURE = (
    "thunks that ask for it get a privileged container, which is as good as this machine's root"
)


@asynccontextmanager
async def open_driver(
    options: RunnerOptions, on_event: Callable[[RunnerEvent], None] = lambda event: None
) -> AsyncGenerator[ThunkDriver[Any]]:
    """Open the driver, and prune its cache. Raises RunnerError if none will do, and DriverError."""
    engine = await find_engine(options)
    secrets = OwnerSecrets(SecretStore(options.secrets_file), own_git=options.git_credentials)
    opened = _open_host if engine is None else partial(_open_containers, engine)
    async with opened(options, secrets, on_event) as driver, trio.open_nursery() as nursery:
        if options.disk is not None:
            images = [] if engine is None else [OwnImages(engine, options.state)]
            nursery.start_soon(keep_within, driver.cache, options.disk, images)
        yield driver
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def _open_host(
    options: RunnerOptions, secrets: OwnerSecrets, on_event: Callable[[RunnerEvent], None]
) -> AsyncGenerator[HostDriver]:
    if requested := requested_limits(options):
        raise RunnerError(
            f"{' and '.join(requested)} can't be held without containers, and the host driver runs "
            "commands: install Podman, or leave the limits out"
        )
    box = await find_sandbox(options)
    on_event(Warned(IGNORED))
    on_event(Warned(CONTAINED if box else UNCONTAINED))
    async with HostDriver.open(
        options.state,
        on_event=on_event,
        secrets=secrets,
        allow_host_path=options.allow_host_path,
        sandbox=box,
        jobs=options.jobs,
    ) as driver:
        yield driver


@asynccontextmanager
async def _open_containers(
    engine: ContainerEngine,
    options: RunnerOptions,
    secrets: OwnerSecrets,
    on_event: Callable[[RunnerEvent], None],
) -> AsyncGenerator[ContainerDriver]:
    for warning in container_warnings(options, engine):
        on_event(Warned(warning))
    limits = ContainerLimits(options.cpus, options.memory, options.pids)
    if requested := requested_limits(options):
        try:
            await engines.try_limits(engine, limits)
        except EngineError as error:
            refused = f"{' and '.join(requested)}: {engine} can't hold containers to that"
            raise RunnerError(f"{refused}: {error}") from error
    async with ContainerDriver.open(
        options.state,
        engine,
        on_event=on_event,
        limits=limits,
        secrets=secrets,
        allow_host_path=options.allow_host_path,
        allow_insecure=options.allow_insecure,
        publish_to=options.publish,
        jobs=options.jobs,
    ) as driver:
        yield driver


def requested_limits(options: RunnerOptions) -> list[str]:
    """Return the options that limit containers, as far as they were given."""
    values = {"--cpus": options.cpus, "--memory": options.memory, "--pids": options.pids}
    return [name for name, value in values.items() if value is not None]


def container_warnings(options: RunnerOptions, engine: ContainerEngine) -> list[str]:
    """Return what an owner should know of running containers so."""
    found = [f"thunks run in containers of {engine}"]
    if engine.network == "host":
        found.append(HOST_NETWORK)
    if options.allow_insecure:
        found.append(INSECURE)
    return found


async def find_engine(options: RunnerOptions) -> ContainerEngine | None:
    """Return the engine that the options ask for; None if commands are to run on the host.

    Raises RunnerError if there is none and nothing else was allowed.
    """
    if options.driver == "host":
        return None
    found = await engines.find(options.engine, network=options.network)
    if isinstance(found, ContainerEngine):
        return found
    if options.driver == "container":
        raise RunnerError(
            f"there is no container engine: {found}. Install Podman, or say --driver host"
        )
    return None


async def find_sandbox(options: RunnerOptions) -> sandbox.Sandbox | None:
    """Return the sandbox that the options ask for. Raises RunnerError if one is needed and there is none."""
    if options.sandbox is False:
        return None
    found = await sandbox.find(network=options.network)
    if isinstance(found, sandbox.Sandbox):
        return found
    if options.sandbox:
        raise RunnerError(
            f"commands can't be contained: {found}. Install bubblewrap, or say --unsandboxed if you "
            "trust every repository that this runner serves"
        )
    return None
