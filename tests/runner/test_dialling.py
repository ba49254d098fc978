"""Loops that end in the middle of a runner's registration: the runner says so, and tries again."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import asyncssh
import pytest
import trio

from bassloop.bridge import call_asyncio, open_bridge
from bassloop.gateway.runner_connection import RequestedForward
from bassloop.runner.options import RunnerOptions
from bassloop.runner.ssh_client import DialError, Dialler

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

    from bassloop.runner.ssh_client import LoopConnection


class LoopThatEnds(asyncssh.SSHServer):
    """Lets everybody in, and ends, or refuses, when a runner offers its socket."""

    ends = True

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self.connection = conn

    def begin_auth(self, username: str) -> bool:
        return False

    def unix_server_requested(self, listen_path: str) -> bool:
        if self.ends:
            self.connection.abort()
        return False


class LoopThatRefuses(LoopThatEnds):
    """Lets everybody in, and takes no runner."""

    ends = False


class LoopThatTakes(LoopThatEnds):
    """Lets everybody in, and takes every runner."""

    def unix_server_requested(self, listen_path: str) -> RequestedForward:
        return RequestedForward(listen_path)


@asynccontextmanager
async def connected(
    tmp_path: Path, loop: type[asyncssh.SSHServer], **more: Any
) -> AsyncGenerator[LoopConnection]:
    """Provide a runner's connection to a loop."""
    key, identity = asyncssh.generate_private_key("ssh-ed25519"), tmp_path / "id"
    identity.write_bytes(key.export_private_key())
    identity.chmod(0o600)
    async with open_bridge():
        server = await call_asyncio(
            asyncssh.listen, "127.0.0.1", 0, server_factory=loop, server_host_keys=[key], **more
        )
        port = server.get_port()
        known_hosts = tmp_path / "known_hosts"
        public = key.export_public_key().decode().strip()
        known_hosts.write_text(f"[127.0.0.1]:{port} {public}\n")
        options = RunnerOptions(
            login="octocat",
            host="127.0.0.1",
            port=port,
            identities=(identity,),
            known_hosts=known_hosts,
            use_agent=False,
            default_identities=False,
        )
        try:
            async with Dialler(options, lambda: None).dial() as connection:
                yield connection
        finally:
            server.close()


@pytest.mark.parametrize("loop", [LoopThatEnds, LoopThatRefuses])
async def test_a_runner_tries_again_if_the_loop_ends_while_it_registers(
    tmp_path: Path, loop: type[asyncssh.SSHServer]
) -> None:
    with trio.fail_after(120), pytest.raises(DialError, match=r"ended the connection|was lost"):
        async with connected(tmp_path, loop) as connection:
            await connection.serve(lambda line: None)


async def test_an_empty_line_from_the_loop_is_not_its_last(tmp_path: Path) -> None:
    async def greet(process: asyncssh.SSHServerProcess[str]) -> None:
        process.stdout.write("registered\n\nconnect again in 2 s\n")
        process.exit(0)

    lines: list[str] = []
    with trio.fail_after(120):
        async with connected(tmp_path, LoopThatTakes, process_factory=greet) as connection:
            await connection.serve(lines.append)
    assert lines == ["registered", "connect again in 2 s"]
