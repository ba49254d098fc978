"""Runners that mean harm: they have a key of a user's, and answer as they like."""

from __future__ import annotations

from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import asyncssh

from bassloop.bridge import call_asyncio

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from .conftest import Target

CHECKS = 4
HOOK = "(defn github-hook [event client] (do {}))".format(
    " ".join(
        '(client:start-check (with-image ($ sh -c "true") {:repository "alpine" :platform {:os "linux"}}) '
        f'"check {number}" event:payload:check_suite:head_sha)'
        for number in range(CHECKS)
    )
)
"""Starts some checks on the runner."""


async def connect(target: Target, **options: Any) -> asyncssh.SSHClientConnection:
    """A connection that has authenticated, with some of asyncssh's options."""
    return await call_asyncio(
        partial(asyncssh.connect, **options),
        "127.0.0.1",
        target.daemon.ssh_port,
        username="octocat",
        client_keys=[target.world.key],
        known_hosts=asyncssh.import_known_hosts(target.daemon.host_key),
        config=None,
        agent_path=None,
    )


@asynccontextmanager
async def registered(
    target: Target, new_session: Callable[[], Any], **options: Any
) -> AsyncGenerator[None]:
    """A runner whose channels are handled by these sessions, with some of asyncssh's options."""
    client = await connect(target, **options)
    try:
        await call_asyncio(client.create_unix_server, new_session, "/runtime", encoding=None)
        process = await call_asyncio(client.create_process, "forward", stdin=asyncssh.DEVNULL)
        await call_asyncio(process.stdout.readline)
        yield
    finally:
        client.abort()
        await call_asyncio(client.wait_closed)
