"""Our drivers, each behind the service that a loop calls."""

from __future__ import annotations

import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from bassloop.bridge import open_bridge
from bassloop.bridge.grpc import open_grpc_server
from bassloop.bridge.memory_channel import memory_opener
from bassloop.runner.container.container_driver import ContainerDriver, ContainerOptions
from bassloop.runner.container.container_engine import ContainerEngine, find
from bassloop.runner.host import sandbox
from bassloop.runner.host.host_driver import HostDriver, HostOptions
from bassloop.runner.options import default_limits
from bassloop.runner.secrets import OwnerSecrets, SecretStore
from bassloop.runner.service import RuntimeService
from bassloop.runtimes import Platform, Runtime

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from bassloop.runner.engine.thunk_driver import ThunkDriver

DRIVERS = ("host", "sandboxed", "container")


@asynccontextmanager
async def open_runtime(
    name: str, folder: Path, *, publish_to: tuple[str, ...] = ()
) -> AsyncGenerator[Runtime]:
    """A driver's runtime, with the secrets ONE and TWO."""
    store = SecretStore(folder / "secrets" / "secrets.json")
    for number, each in enumerate(("ONE", "TWO"), 1):
        store.set(each, f"conformance-{number}", only=["octocat/*"], in_keyring=False)
    opened = await _opened(name, folder / name, OwnerSecrets(store), publish_to)
    async with (
        open_bridge(),
        opened as driver,
        RuntimeService.open(driver) as service,
        open_grpc_server([service]) as new_session,
    ):
        yield Runtime(
            id=name,
            user_id=0,
            login="octocat",
            platform=Platform.here(),
            priority=0,
            connected_at=time.time(),
            open_channel=memory_opener(new_session),
            kind="bassloop",
        )


async def _opened(
    name: str, state: Path, secrets: OwnerSecrets, publish_to: tuple[str, ...]
) -> AbstractAsyncContextManager[ThunkDriver]:
    if name == "container":
        engine = await find()
        assert isinstance(engine, ContainerEngine), engine
        return ContainerDriver.open(
            state, engine, ContainerOptions(secrets=secrets, publish_to=publish_to)
        )
    box = None
    if name == "sandboxed":
        box = await sandbox.find(limits=default_limits())
    return HostDriver.open(state, HostOptions(secrets=secrets, sandbox=box))
