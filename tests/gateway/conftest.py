"""A gateway on loopback, clients of it, and a runner that tests control."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import asyncssh
import pytest
import trio
from grpclib.const import Status
from grpclib.exceptions import GRPCError
from tests.until import until

from bassloop.bridge import call_asyncio, open_bridge
from bassloop.bridge.grpc import open_grpc_server
from bassloop.gateway import GatewayAddress, GatewaySettings, serve_gateway
from bassloop.runtimes import Pool, Runtime
from bassloop.wire import bass_pb2, progrock_pb2, runtime_pb2
from bassloop.wire.runtime_grpc import RuntimeBase

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from bassloop.store import RuntimeRecord

HOST_KEY = asyncssh.generate_private_key("ssh-ed25519")
USER_KEY = asyncssh.generate_private_key("ssh-ed25519")
OTHER_KEY = asyncssh.generate_private_key("ssh-ed25519")


@dataclass(frozen=True)
class User:
    id: int
    login: str


def public(*keys: asyncssh.SSHKey) -> list[str]:
    return [key.export_public_key().decode().strip() for key in keys]


class Keys:
    """GitHub's users and keys, in memory."""

    def __init__(self) -> None:
        self.users = {"vito": User(7, "vito"), "nokeys": User(8, "nokeys")}
        self.listed = {"vito": public(OTHER_KEY, USER_KEY)}
        self.asked: list[tuple[str, bool]] = []
        self.added: dict[str, list[str]] = {}
        """Listed as soon as somebody asks afresh."""
        self.broken = False
        self.old = False
        """Set for what GitHub said long ago, until it is `answering`."""
        self.answering = trio.Event()
        self.answering.set()

    async def user(self, login: str) -> User | None:
        await trio.lowlevel.checkpoint()
        if self.broken:
            raise OSError("GitHub can't be reached")
        return self.users.get(login.lower())

    async def keys(self, login: str, *, fresh: bool = False) -> list[str]:
        self.asked.append((login, fresh))
        await trio.lowlevel.checkpoint()
        if fresh:
            self.listed |= self.added
        return self.listed.get(login.lower(), [])

    async def confirmed(self, login: str) -> bool:
        await self.answering.wait()
        return self.old


class Records:
    """A store, in memory; `changed` is set anew at each change."""

    def __init__(self) -> None:
        self.runtimes: dict[str, RuntimeRecord] = {}
        self.broken = False

    async def add(self, record: RuntimeRecord) -> None:
        if self.broken:
            raise OSError("the disk is full")
        self.runtimes[record.id] = record

    async def remove_session(self, session: str) -> None:
        self.runtimes = {
            name: each for name, each in self.runtimes.items() if each.session != session
        }


class Service(RuntimeBase):
    """A runner's gRPC service: sends `many` updates of `size` bytes, then does what `then` says."""

    def __init__(self, many: int = 3, size: int = 10, then: str = "end") -> None:
        self.many, self.size, self.then = many, size, then
        self.running = 0
        self.sent = 0

    async def Run(self, stream):
        self.running += 1
        try:
            await stream.recv_message()
            log = progrock_pb2.VertexLog(vertex="v", data=b"x" * self.size)
            update = progrock_pb2.StatusUpdate(logs=[log])
            for _ in range(self.many):
                await stream.send_message(runtime_pb2.RunResponse(progress=update))
                self.sent += 1
            if self.then == "hang":
                await asyncio.Event().wait()
            elif self.then == "fail":
                raise GRPCError(Status.UNKNOWN, "exit status 3")
        finally:
            self.running -= 1

    async def Resolve(self, stream):
        await stream.recv_message()
        await stream.send_message(bass_pb2.Thunk())

    Read = Export = ExportPath = Publish = Run


@dataclass
class Gateway:
    """A running gateway with its environment."""

    address: GatewayAddress
    keys: Keys
    pool: Pool
    records: Records
    nursery: trio.Nursery
    scope: trio.CancelScope
    stopped: trio.Event
    clients: list[asyncssh.SSHClientConnection] = field(default_factory=list)

    async def connect(
        self, login: str = "vito", key: asyncssh.SSHKey = USER_KEY, **more: object
    ) -> asyncssh.SSHClientConnection:
        """A client that has authenticated."""
        known = asyncssh.import_known_hosts(self.address.known_hosts_line)
        how = {"known_hosts": known, "client_keys": [key], "agent_path": None, "config": None}
        client = await call_asyncio(
            asyncssh.connect, "127.0.0.1", self.address.port, username=login, **(how | more)
        )
        self.clients.append(client)
        return client

    async def session(self, client, command: str) -> asyncssh.SSHClientProcess:
        return await call_asyncio(client.create_process, command, stdin=asyncssh.DEVNULL)

    async def refused(self, client, command: str) -> tuple[int | None, str]:
        """A command's exit status and its output."""
        done = await call_asyncio(client.run, command)
        return done.exit_status, done.stdout + done.stderr

    @asynccontextmanager
    async def runner(
        self, service: Service | None = None, command: str = "forward --os linux --arch amd64"
    ) -> AsyncIterator[tuple[Runtime, asyncssh.SSHClientConnection]]:
        """A runner that is registered, and its connection."""
        client = await self.connect()
        async with open_grpc_server([service or Service()]) as new_session:
            await call_asyncio(client.create_unix_server, new_session, "/runtime", encoding=None)
            await self.session(client, command)
            yield await self.pool.wait_for(7, timeout=120), client

    async def until(self, condition) -> None:
        """Wait until the gateway's tasks have made it so."""
        with trio.fail_after(120):
            await until(condition)


@asynccontextmanager
async def open_gateway(**settings: object) -> AsyncIterator[Gateway]:
    keys, pool, records, stopped = Keys(), Pool(), Records(), trio.Event()
    # A busy machine takes long for what has no limit here: a handshake, a goodbye.
    how = {
        "host_key": HOST_KEY,
        "refusal_seconds": 0.05,
        "auth_seconds": 200.0,
        "closing_seconds": 60.0,
    }
    settings_ = GatewaySettings(**(how | settings))

    async def serve(task_status) -> None:
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                address = await nursery.start(serve_gateway, settings_, keys, pool, records)
                task_status.started((address, scope))
        stopped.set()

    async with open_bridge(), trio.open_nursery() as nursery:
        address, scope = await nursery.start(serve)
        gateway = Gateway(address, keys, pool, records, nursery, scope, stopped)
        try:
            yield gateway
        finally:
            with trio.CancelScope(shield=True):
                for client in gateway.clients:
                    client.abort()
                    await call_asyncio(client.wait_closed)
            scope.cancel()
    assert records.runtimes == {}
    assert pool.snapshot() == []


@pytest.fixture
async def gateway() -> AsyncIterator[Gateway]:
    async with open_gateway() as opened:
        yield opened


@pytest.fixture
def identity(tmp_path: Path) -> Path:
    """The user's private key, as OpenSSH wants it."""
    path = tmp_path / "id"
    path.touch(mode=0o600)
    path.write_bytes(USER_KEY.export_private_key())
    return path
