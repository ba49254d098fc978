"""Three nodes behind HAProxy, with the example's own configuration, and what goes wrong with them."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import asyncssh
import trio

from bassloop.concurrency import shielded
from bassloop.runner import run_runner
from tests.runners import host_runner

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    from tests.loop.world import LoopNode, World

CONFIGURATION = Path(__file__).parents[2] / "examples" / "cluster" / "haproxy.cfg"
NAMES = ("loop-1", "loop-2", "loop-3")
RESTART_SECONDS = 0.5
DRAIN_SECONDS = 20.0
"""How long a node may take to end its checks once it was stopped."""

SLOW_SECONDS = 0.2
"""The shortest time for an answer that counts as slow."""

LEASE_LOST = (b"another node has taken over", b"the lease couldn't be renewed in time")
"""What a node says last that was lost to the others."""


class Cable:
    """The way to a server, which can be cut for a while.

    Attributes:
        slow: when slow answers were awaited, in seconds since the epoch, and how long they took. Of use for a protocol
            in which a client waits for each answer.
    """

    def __init__(self, connect: Callable[[], Awaitable[trio.SocketStream]]) -> None:
        self._connect = connect
        self._cut = trio.Event()
        self.port = 0
        self.slow: list[tuple[float, float]] = []

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        self.port = listeners[0].socket.getsockname()[1]
        task_status.started()
        await trio.serve_listeners(self._serve, listeners)

    @asynccontextmanager
    async def cut(self) -> AsyncGenerator[None]:
        """Close all connections, and pass on no more while the context lasts."""
        self._cut.set()
        try:
            yield
        finally:
            self._cut = trio.Event()

    async def _serve(self, client: trio.SocketStream) -> None:
        cut = self._cut
        if cut.is_set():
            return
        with suppress(OSError):
            async with await self._connect() as server, trio.open_nursery() as both:
                asked: float | None = None

                def note(source: trio.SocketStream) -> None:
                    nonlocal asked
                    if source is client:
                        asked = time.time() if asked is None else asked
                    elif asked is not None:
                        if (took := time.time() - asked) >= SLOW_SECONDS:
                            self.slow.append((asked, took))
                        asked = None

                async def copy(source: trio.SocketStream, target: trio.SocketStream) -> None:
                    with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                        async for piece in source:
                            note(source)
                            await target.send_all(piece)
                    note(server)  # an answer that won't come
                    both.cancel_scope.cancel()

                both.start_soon(copy, client, server)
                both.start_soon(copy, server, client)
                await cut.wait()
                both.cancel_scope.cancel()


@dataclass
class Slot:
    """A node that is started again whenever it ends, as a service manager does.

    What all its processes log is in NAME.log.

    Args:
        given_up: when a process ended since it couldn't renew its lease, in seconds since the epoch.
        crashes: how many processes have ended with a traceback.
    """

    name: str
    database: Cable
    settings: dict[str, str]
    node: LoopNode | None = None
    starts: int = 0
    given_up: list[float] = field(default_factory=list)
    crashes: int = 0
    changed: trio.Event = field(default_factory=trio.Event)

    async def run(self, world: World) -> None:
        while True:
            async with world.node(self.name, **self.settings) as self.node:
                self.starts += 1
                self.changed.set()
                self.changed = trio.Event()
                try:
                    await self.node.process.wait()
                finally:
                    last = b"".join(line for line in self.node.log if not line.startswith(b"{"))
                    if any(words in last for words in LEASE_LOST):
                        self.given_up.append(time.time())
                    self.crashes += b"Traceback" in last
                    with (world.folder / f"{self.name}.log").open("ab") as file:
                        file.writelines(line + b"\n" for line in self.node.log)
            await trio.sleep(RESTART_SECONDS)

    async def ready(self) -> None:
        """Wait until the process that runs is ready, however often it is started before."""
        while True:
            node, changed = self.node, self.changed
            async with trio.open_nursery() as nursery:

                async def cancel_at(event: trio.Event, scope: trio.CancelScope) -> None:
                    await event.wait()
                    scope.cancel()

                nursery.start_soon(cancel_at, changed, nursery.cancel_scope)
                if node is not None:
                    nursery.start_soon(cancel_at, node.is_ready, nursery.cancel_scope)
            if node is not None and node is self.node and node.is_ready.is_set():
                return

    def signal(self, number: int) -> None:
        """Send a signal to the process, if it runs."""
        if self.node is not None and self.node.process.returncode is None:
            self.node.process.send_signal(number)


@dataclass
class Cluster:
    """Nodes, and the ways to their database and their bucket.

    Args:
        url: where HAProxy takes webhooks, and shows pages.
        ssh_port: where it takes runners.
    """

    world: World
    slots: list[Slot]
    bucket: Cable
    url: str
    ssh_port: int

    async def ready(self) -> None:
        """Wait until all nodes are ready."""
        for slot in self.slots:
            await slot.ready()


@asynccontextmanager
async def open_cluster(
    world: World, database: str, socket: str, s3: tuple[str, int], bucket: str
) -> AsyncGenerator[Cluster]:
    """Run three nodes and HAProxy.

    Args:
        database: the name of the database on the server with this socket.
        bucket: BLOBS_URL, but for its endpoint.
    """
    network = f"127.{random.randrange(1, 255)}.{random.randrange(256)}"
    key = asyncssh.generate_private_key("ssh-ed25519").export_private_key().decode()
    async with trio.open_nursery() as nursery:
        way = Cable(partial(trio.open_tcp_stream, *s3))
        await nursery.start(way.run)
        slots = []
        for number, name in enumerate(NAMES, 1):
            cable = Cable(partial(trio.open_unix_socket, socket))
            await nursery.start(cable.run)
            settings = {
                "LISTEN": f"{network}.{number}:3000",
                "SSH_ADDR": f"{network}.{number}:6455",
                "DATA_DIR": str(world.folder / name),
                "DATABASE_URL": f"postgresql://postgres@127.0.0.1:{cable.port}/{database}",
                "BLOBS_URL": f"{bucket}?endpoint=http://127.0.0.1:{way.port}",
                "SESSION_SECRET": "the secret of all three nodes, for chaos",
                "SSH_HOST_KEY": key,
                "TRUSTED_PROXIES": "127.0.0.0/8",
                "SSH_PROXIES": "127.0.0.0/8",
                "RUNNER_WAIT": "600",
                "DRAIN_SECONDS": f"{DRAIN_SECONDS:g}",
            }
            slots.append(Slot(name, cable, settings))
        for slot in slots:
            nursery.start_soon(slot.run, world)
        async with run_haproxy(world.folder, network) as (pages, runners):
            cluster = Cluster(world, slots, way, f"http://127.0.0.1:{pages}", runners)
            await cluster.ready()
            yield cluster
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def run_haproxy(folder: Path, network: str) -> AsyncGenerator[tuple[int, int]]:
    """Run HAProxy with the example's configuration; yield its ports for pages and for runners."""
    ports = [random.randrange(20_000, 30_000) for _ in range(2)]
    text = CONFIGURATION.read_text()
    for bound, port in zip(("8080", "6455"), ports, strict=True):
        text = text.replace(f'bind "${{ADDRESS}}:{bound}"\n', f"bind 127.0.0.1:{port}\n")
    (folder / "haproxy.cfg").write_text(text)
    process = await trio.lowlevel.open_process(
        ["haproxy", "-db", "-f", str(folder / "haproxy.cfg")],
        env={**os.environ, **{f"LOOP_{number}": f"{network}.{number}" for number in (1, 2, 3)}},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield ports[0], ports[1]
    finally:
        with shielded(5):
            process.send_signal(signal.SIGKILL)
            await process.wait()


async def run_user_s_runner(
    cluster: Cluster,
    login: str,
    key: asyncssh.SSHKey,
    *,
    task_status: trio.TaskStatus[Any],
) -> None:
    """Run a runner of a user, who dials in through HAProxy and again whenever the connection is lost."""
    folder = cluster.world.folder / f"runner-{login}"
    folder.mkdir()
    host_key = asyncssh.import_private_key(cluster.slots[0].settings["SSH_HOST_KEY"])
    public = host_key.export_public_key().decode().strip()
    known_host = f"[127.0.0.1]:{cluster.ssh_port} {public}"
    options = host_runner(login, key, folder, known_host=known_host, port=cluster.ssh_port)
    await run_runner(options, task_status=task_status)
