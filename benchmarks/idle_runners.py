"""Many simulated runners that do nothing, in a process of their own: see `benchmarks.runners`.

Plain asyncio, for the bridge to Trio takes asyncio's place in a whole process. Prints a line once all
are registered, and stays until it is killed.
"""

from __future__ import annotations

import argparse
import asyncio
from typing import Any

import asyncssh

AT_ONCE = 8


def arguments() -> argparse.Namespace:
    """What `benchmarks.runners` says to such a process."""
    parser = argparse.ArgumentParser()
    for name in ("port", "count", "messages", "size"):
        parser.add_argument(f"--{name}", type=int, default=0)
    for name in ("login", "identity", "known-hosts"):
        parser.add_argument(f"--{name}")
    return parser.parse_args()


async def dial(given: argparse.Namespace) -> asyncssh.SSHClientConnection:
    """A connection that is logged in."""
    return await asyncssh.connect(
        "127.0.0.1",
        given.port,
        username=given.login,
        client_keys=[given.identity],
        known_hosts=given.known_hosts,
        agent_path=None,
        config=None,
        client_version="bassloop",
        keepalive_interval=30,
    )


async def register(connection: asyncssh.SSHClientConnection, session: Any) -> None:
    """Offer a runtime on a connection; returns when the loop has said that it is registered."""
    await connection.create_unix_server(session, "/runtime", encoding=None)
    process = await connection.create_process("forward --os linux --arch amd64")
    line = await process.stdout.readline()
    assert line.startswith("registered"), line


async def idle(given: argparse.Namespace) -> None:
    """Many runners that do nothing."""
    limiter = asyncio.Semaphore(AT_ONCE)
    held = []

    async def one() -> None:
        async with limiter:
            connection = await dial(given)
            await register(connection, lambda: None)
            held.append(connection)

    await asyncio.gather(*(one() for _ in range(given.count)))
    print("registered", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(idle(arguments()))
