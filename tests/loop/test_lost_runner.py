"""A runner that dies under a check, with the stock OpenSSH client: another one takes what had not begun."""

from __future__ import annotations

import asyncio
import shutil
import signal
import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
import trio

from bassloop.bridge import call_asyncio
from bassloop.store import open_store
from bassloop.wire import progrock_pb2, runtime_pb2
from bassloop.wire.runtime_grpc import RuntimeBase
from tests.until import until

from .world import open_world

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from tests.repositories import MakeRepository

    from .world import Daemon, World

    Behind = Callable[[Path], AbstractAsyncContextManager[None]]

pytestmark = [
    pytest.mark.openssh,
    pytest.mark.skipif(shutil.which("ssh") is None, reason="there is no ssh here"),
]
HOOK = """
(defn github-hook [event client]
  (client:start-check
    (with-image ($ sh -c "echo here") {:repository "alpine" :platform {:os "linux"}})
    "it" event:payload:check_suite:head_sha))
"""
QUICK = {"SSH_KEEPALIVE_SECONDS": "4", "SSH_KEEPALIVE_COUNT": "2"}
"""Soon, but not so soon that the other runner is taken for lost while the machine is busy."""
FIRST = 5
"""The priority of the runner that is to be lost."""


class Begins(RuntimeBase):
    """Begins what it is asked for, and never ends it."""

    async def Run(self, stream: Any) -> None:
        await stream.recv_message()
        step = progrock_pb2.Vertex(id="v", name="begun")
        step.started.GetCurrentTime()
        update = progrock_pb2.StatusUpdate(vertexes=[step])
        await stream.send_message(runtime_pb2.RunResponse(progress=update))
        await asyncio.Event().wait()

    Resolve = Read = Export = ExportPath = Publish = Run


@asynccontextmanager
async def openssh(world: World, daemon: Daemon, path: Path) -> AsyncGenerator[trio.Process]:
    """The stock client in front of a Unix socket, preferred to all other runners."""
    identity, known = world.folder / "ssh_id", world.folder / "ssh_known_hosts"
    identity.touch(mode=0o600)
    identity.write_bytes(world.key.export_private_key())
    known.write_text(daemon.host_key + "\n")
    options = (f"UserKnownHostsFile={known}", "IdentitiesOnly=yes", "IdentityAgent=none")
    flags = [word for option in options for word in ("-o", option)]
    where = ["-p", str(daemon.ssh_port), "-i", str(identity), "-R", f"/runtime:{path}"]
    command = f"forward --os linux --priority {FIRST}"
    process = await trio.lowlevel.open_process(
        ["ssh", "-F", "none", *flags, *where, f"{world.standin.login}@127.0.0.1", command]
    )
    try:
        yield process
    finally:
        with trio.CancelScope(shield=True):
            process.kill()
            await process.wait()


@asynccontextmanager
async def silent(path: Path) -> AsyncGenerator[None]:
    """A socket where nobody says anything."""
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen()
        yield


@asynccontextmanager
async def begins(path: Path) -> AsyncGenerator[None]:
    """A socket of a runner that begins what it is asked for."""
    from grpclib.server import Server  # after the bridge, which must be there first

    server = Server([Begins()])
    await call_asyncio(server.start, path=str(path))
    try:
        yield
    finally:
        with trio.CancelScope(shield=True):
            server.close()
            await call_asyncio(server.wait_closed)


@asynccontextmanager
async def two_runners(repository: Path, folder: Path, behind: Behind) -> AsyncGenerator[Any]:
    """A loop with a delivered check, under way on OpenSSH's runner; our own waits beside it."""
    async with open_world(repository, folder, **QUICK) as world, world.daemon() as daemon:
        data, path = folder / "data", folder / "s.sock"
        async with (
            open_store(data / "loop.db", data / "blobs", owner=False) as store,
            world.runner(daemon),
            behind(path),
            openssh(world, daemon, path) as process,
        ):
            await until(lambda: daemon.lines_with(f'"priority": {FIRST}'))
            await world.standin.deliver(
                daemon.url, "check_suite", await world.standin.payload("check_suite")
            )
            await until(lambda: daemon.lines_with('"runner asked"'))
            yield world, store, process


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
async def test_a_run_that_had_not_begun_is_run_by_another_runner(
    make_repository: MakeRepository, tmp_path: Path, number: signal.Signals
) -> None:
    repository = make_repository(**{"project.bass": HOOK})
    with trio.fail_after(600):
        async with two_runners(repository, tmp_path / "world", silent) as (it, store, ssh):
            ssh.send_signal(number)
            await it.concluded()
            [said] = it.standin.check_runs
            assert said["conclusion"] == "success", said["output"]
            run = await store.runs.get(said["external_id"])
            assert run.runner_kind == "bassloop"
            assert [each.kind for each in await store.runtimes.connected()] == ["bassloop"]


async def test_a_check_of_a_runner_that_is_silent_waits_for_one_that_answers(
    make_repository: MakeRepository, tmp_path: Path
) -> None:
    repository, folder = make_repository(**{"project.bass": HOOK}), tmp_path / "world"
    with trio.fail_after(600):
        async with (
            open_world(repository, folder, RUNNER_ANSWER_SECONDS="10") as world,
            world.daemon() as daemon,
            silent(folder / "s.sock"),
            openssh(world, daemon, folder / "s.sock"),
        ):
            await until(lambda: daemon.lines_with(f'"priority": {FIRST}'))
            payload = await world.standin.payload("check_suite")
            await world.standin.deliver(daemon.url, "check_suite", payload)
            runs, waits = world.standin.check_runs, "Waiting for a runner again"
            await until(lambda: runs and runs[0]["output"]["title"] == waits)
            assert runs[0]["status"] == "queued"
            assert "did not answer within 10 s" in runs[0]["output"]["summary"]
            async with world.runner(daemon):
                await world.concluded()
            [said] = world.standin.check_runs
            assert said["conclusion"] == "success", said["output"]


async def test_a_run_that_had_begun_ends_and_is_not_repeated(
    make_repository: MakeRepository, tmp_path: Path
) -> None:
    repository = make_repository(**{"project.bass": HOOK})
    with trio.fail_after(600):
        async with two_runners(repository, tmp_path / "world", begins) as (it, store, ssh):
            [run] = await store.runs.unfinished()
            while not await store.steps.of_run(run.id):
                await trio.sleep(0.01)
            ssh.kill()
            await it.concluded()
            [said] = it.standin.check_runs
            assert said["conclusion"] == "cancelled"
            assert "runner for linux/amd64" in said["output"]["summary"]
            assert "run the check again" in said["output"]["summary"]
            ended = await store.runs.get(run.id)
            assert (ended.state, ended.runner_kind) == ("interrupted", "openssh")
