"""Every use of a private name of asyncssh, grpclib, trio-asyncio or asyncio, and the reason for it.

Each has a test in `tests/bridge/test_library_internals.py` that fails if upstream changes the name, and
`pyproject.toml` has an upper bound for each of these packages. `trio_asyncio` is only imported here, because on
Python 3.14 asyncio must be patched first.
"""

from __future__ import annotations

import asyncio
import asyncio.events
import heapq
import importlib
import sys
import warnings
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from grpclib.client import Handler
from grpclib.protocol import H2Protocol
from h2.config import H2Configuration

if TYPE_CHECKING:
    from collections.abc import Callable

    import asyncssh
    from grpclib.config import Configuration
    from grpclib.protocol import EventsProcessor, Stream
    from grpclib.server import Server

__all__ = [
    "client_protocol",
    "deferred_packets",
    "drop_cancelled_timers",
    "needs_shim",
    "packets_received",
    "refuse_environment",
    "send_request",
    "server_protocol",
    "transport_of",
    "trio_asyncio",
    "unread_frames",
]

NEED_SHIM = ("0.15", "0.16")
"""The releases of trio-asyncio that don't run on Python 3.14 without a patch."""

FEW_TIMERS = 500


# trio-asyncio and asyncio


def needs_shim(python: tuple[int, int], trio_asyncio_version: str) -> bool:
    """Return whether this release of trio-asyncio only runs on this Python with a patch.

    Python 3.14 made the base class of the default event loop policy private, and removed child watchers. (No subprocess
    is started through asyncio here.)
    """
    return python >= (3, 14) and trio_asyncio_version.startswith(
        tuple(f"{each}." for each in NEED_SHIM)
    )


def _add_removed_names() -> None:
    """Restore the names in asyncio that trio-asyncio imports."""
    events: Any = asyncio.events
    events.BaseDefaultEventLoopPolicy = events._BaseDefaultEventLoopPolicy
    package: Any = asyncio
    package.AbstractChildWatcher = type("AbstractChildWatcher", (), {})


def _set_running_loop() -> None:
    """Set the thread's running loop while a callback of a trio-asyncio loop runs."""
    accelerated: Any = importlib.import_module("_asyncio")
    trio_loop: type = importlib.import_module("trio_asyncio._base").BaseTrioEventLoop
    handle: Any = asyncio.Handle
    run = handle._run

    def run_with_loop(self: Any) -> None:
        if not isinstance(self._loop, trio_loop):
            run(self)
            return
        before = accelerated._get_running_loop()
        accelerated._set_running_loop(self._loop)
        try:
            run(self)
        finally:
            accelerated._set_running_loop(before)

    handle._run = run_with_loop


_shim = needs_shim(sys.version_info[:2], version("trio-asyncio"))
if _shim:
    _add_removed_names()
with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # caused by trio-asyncio
    import trio_asyncio
if sys.version_info >= (3, 12):
    # asyncio.current_task, which grpclib calls, is written in C since 3.12. It looks at the thread's running loop, as
    # tasks do since 3.14, and not at the Python function that trio-asyncio patches.
    _set_running_loop()


def drop_cancelled_timers(loop: Any) -> None:
    """Make a trio-asyncio loop drop cancelled timers once they outnumber the others.

    It would keep each until it's due, and asyncssh resets its keepalive timer with every packet: a busy run would leave
    a thousand timers a second, each for half a minute.
    """
    cancelled = 0

    def note(handle: object) -> None:
        nonlocal cancelled
        cancelled += 1
        timers = loop._timers
        if cancelled < FEW_TIMERS or 2 * cancelled < len(timers) or loop._stopped.is_set():
            return
        timers[:] = [timer for timer in timers if not timer.cancelled()]
        heapq.heapify(timers)
        cancelled = 0

    loop._timer_handle_cancelled = note


# asyncssh


def refuse_environment(channel: asyncssh.SSHServerChannel[bytes]) -> None:
    """Refuse a client's environment variables, of which asyncssh would store any number."""
    private: Any = channel
    private._process_env_request = lambda packet: False


def transport_of(connection: asyncssh.SSHServerConnection) -> asyncio.Transport:
    """Return the transport of a connection, to read its bytes in place of asyncssh."""
    private: Any = connection
    transport: asyncio.Transport = private._transport
    return transport


def packets_received(connection: asyncssh.SSHServerConnection) -> int:
    """Return how many packets have been received since the beginning of the connection or the last key exchange."""
    private: Any = connection
    packets: int = private._recv_seq
    return packets


def deferred_packets(connection: asyncssh.SSHServerConnection) -> int:
    """Return how many packets will be sent, all at once, when the current key exchange ends."""
    private: Any = connection
    return len(private._deferred_packets)


# grpclib, which only creates protocols for sockets that it opens itself, while we have SSH channels


def client_protocol(config: Configuration) -> H2Protocol:
    """Return a client's HTTP/2 protocol for one connection."""
    private: Any = config
    return H2Protocol(
        Handler(),
        private.__for_client__(),
        H2Configuration(
            client_side=True,
            header_encoding="ascii",
            validate_inbound_headers=False,
            validate_outbound_headers=False,
            normalize_inbound_headers=False,
            normalize_outbound_headers=False,
        ),
    )


def server_protocol(server: Server) -> H2Protocol:
    """Return a server's HTTP/2 protocol for one connection; its `handler` owns the calls' tasks."""
    return server._protocol_factory()


async def send_request(
    stream: Stream, headers: list[tuple[str, str]], processor: EventsProcessor
) -> Callable[[], None]:
    """Begin a call on a new stream. Return a function that releases the stream."""
    release: Callable[[], None] = await stream.send_request(headers, _processor=processor)
    return release


def unread_frames(stream: Stream) -> int:
    """Return how many received data frames haven't been read."""
    return stream.buffer._unacked.qsize()
