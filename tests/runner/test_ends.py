"""A real `bassloop runner` that ends, in all the ways there are: within 5 s nothing of its commands is left."""

from __future__ import annotations

import os
import signal
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
import trio

from bassloop.runtimes import RunFailed, RuntimeLost
from tests.forked_programs import open_bassloop
from tests.until import until

from ..gateway.conftest import USER_KEY, Gateway, open_gateway
from .containers.test_end import mounted, running
from .made import IMAGE, sh

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator
    from pathlib import Path

    from bassloop.runtimes import Runtime
    from bassloop.wire import bass_pb2 as pb
    from tests.forked_programs import Forked

SECONDS = 5.0 + 90.0
"""The promised bound in seconds, and the margin for a machine with other work. The commands would go on for longer."""
DRIVERS = {
    "host": ("--driver", "host", "--unsandboxed", "--allow-foreign", "--images", "ignore"),
    "sandboxed": ("--driver", "host", "--images", "ignore"),
    "container": ("--driver", "container"),
}


class World:
    """A gateway, and a runner in a process of its own."""

    def __init__(self, gateway: Gateway, folder: Path, driver: str) -> None:
        self.gateway = gateway
        self.folder = folder
        self.state = folder / "state"
        self.driver = driver
        self.mark = f"mark_{os.urandom(8).hex()}"

    @property
    def thunk(self) -> pb.Thunk:
        """A command that does not want to end, with a child in a session of its own."""
        script = f": {self.mark}; trap '' TERM; (setsid sleep 600) & echo up; sleep 600; wait"
        image = IMAGE
        if self.driver == "container":
            from .containers.conftest import BASE

            image = BASE
        return sh(script, image=image)

    @asynccontextmanager
    async def runner(self) -> AsyncGenerator[tuple[Forked, Runtime]]:
        """A runner that is registered; ended at the end if it is still there."""
        identity, known = self.folder / "id", self.folder / "known_hosts"
        USER_KEY.write_private_key(str(identity))
        identity.chmod(0o600)
        known.write_text(f"{self.gateway.address.known_hosts_line}\n")
        words = ["runner", *DRIVERS[self.driver], "--json"]
        words += ["-i", str(identity), "--known-hosts", str(known), "--state-dir", str(self.state)]
        words.append(f"vito@127.0.0.1:{self.gateway.address.port}")
        env = {**os.environ, "PYTHONPATH": "src"}
        env.pop("SSH_AUTH_SOCK", None)
        with (self.folder / "log").open("ab") as log:
            process = await open_bassloop(*words, env=env, stdout=log.fileno(), stderr=log.fileno())
        try:
            yield process, await self.gateway.pool.wait_for(7, timeout=120)
        finally:
            with trio.CancelScope(shield=True):
                if process.returncode is None:
                    process.terminate()
                with trio.move_on_after(SECONDS):
                    await process.wait()
                if process.returncode is None:
                    process.kill()
                await process.wait()

    async def run(self, runtime: Runtime, up: trio.Event) -> None:
        """Run the command until it, or who runs it, is gone."""
        try:
            async with runtime.run(self.thunk, {}) as answers:
                async for update in answers:
                    if any(log.data == b"up\n" for log in update.logs):
                        up.set()
        except (RunFailed, RuntimeLost):
            pass

    async def gone(self) -> None:
        """Wait until nothing of the command is left."""
        began = time.monotonic()
        while running(self.mark) or mounted(self.state):
            assert time.monotonic() - began < SECONDS, (running(self.mark), mounted(self.state))
            await trio.sleep(0.05)


@pytest.fixture(
    params=[
        "host",
        pytest.param("sandboxed", marks=pytest.mark.containers),
        pytest.param("container", marks=pytest.mark.containers),
    ]
)
def driver(request: pytest.FixtureRequest) -> str:
    """Its name; the base image is there for containers."""
    if request.param == "container":
        request.getfixturevalue("engine")
    return str(request.param)


@pytest.fixture
async def world(driver: str, tmp_path: Path) -> AsyncIterator[World]:
    async with open_gateway() as gateway:
        yield World(gateway, tmp_path, driver)


@pytest.mark.parametrize("how", ["cancelled", "SIGTERM", "connection lost", "SIGKILL"])
async def test_a_runner_leaves_no_processes_however_it_ends(world: World, how: str) -> None:
    up = trio.Event()
    async with trio.open_nursery() as nursery, world.runner() as (process, runtime):
        nursery.start_soon(world.run, runtime, up)
        with trio.fail_after(120):
            await up.wait()
        assert running(world.mark)
        match how:
            case "cancelled":
                nursery.cancel_scope.cancel()
                with trio.CancelScope(shield=True):
                    await world.gone()
                    assert process.returncode is None
            case "SIGTERM":
                process.send_signal(signal.SIGTERM)
                with trio.fail_after(SECONDS):
                    assert await process.wait() == 0
                await world.gone()
            case "connection lost":
                world.gateway.scope.cancel()
                await world.gone()
                assert process.returncode is None
            case "SIGKILL":
                process.send_signal(signal.SIGKILL)
                await process.wait()
                with trio.fail_after(SECONDS):
                    await until(lambda: not world.gateway.pool.snapshot())
                async with world.runner():
                    await world.gone()
