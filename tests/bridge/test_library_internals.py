"""The private names of libraries that `bassloop.bridge.library_internals` uses are still what they were.

When one of these fails after an upgrade: see what upstream has now, and raise the upper bound in pyproject.toml
once `library_internals.py` fits it.
"""

from __future__ import annotations

import ast
import asyncio
import inspect
import re
import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path

import asyncssh
import pytest
from grpclib.client import Channel
from grpclib.config import Configuration
from grpclib.protocol import Buffer, H2Protocol, Stream
from grpclib.server import Server

from bassloop.bridge import call_asyncio, library_internals, open_bridge
from bassloop.wire.runtime_grpc import RuntimeBase

ROOT = Path(__file__).parents[2]
PACKAGES = ("asyncssh", "grpclib", "trio-asyncio")


@pytest.mark.parametrize(
    ("python", "trio_asyncio", "needed"),
    [
        ((3, 13), "0.16.0", False),
        ((3, 14), "0.15.0", True),
        ((3, 14), "0.16.0", True),
        ((3, 14), "0.17.0", False),
    ],
)
def test_the_shim_is_for_some_releases_on_python_3_14_only(python, trio_asyncio, needed):
    assert library_internals.needs_shim(python, trio_asyncio) is needed


def test_the_shim_goes_when_upstream_no_longer_needs_it():
    """When this fails, try the bridge on Python 3.14 without it, and remove it if that runs."""
    assert version("trio-asyncio").startswith(
        tuple(f"{each}." for each in library_internals.NEED_SHIM)
    )
    if sys.version_info >= (3, 14):
        plain = [sys.executable, "-W", "ignore", "-c", "import trio_asyncio"]
        assert subprocess.run(plain, capture_output=True, check=False).returncode != 0


async def test_a_loop_of_trio_asyncio_has_the_timers_that_are_dropped():
    async def look() -> None:
        loop = asyncio.get_running_loop()
        later = loop.call_later(30, print)
        await asyncio.sleep(0)
        assert later in loop._timers
        assert not loop._stopped.is_set()
        cancelled = []
        loop._timer_handle_cancelled = cancelled.append
        later.cancel()
        assert cancelled == [later], "asyncio tells the loop of a timer that is cancelled"

    async with open_bridge():
        await call_asyncio(look)


def test_an_asyncssh_connection_has_a_transport_and_counts_packets():
    connection = asyncssh.SSHServerConnection.__new__(asyncssh.SSHServerConnection)
    made = inspect.getsource(asyncssh.connection.SSHConnection.connection_made)
    assert "self._transport = " in made
    received = inspect.getsource(asyncssh.connection.SSHConnection._finish_recv_packet)
    assert "self._recv_seq = " in received
    connection._transport, connection._recv_seq = "transport", 7
    assert library_internals.transport_of(connection) == "transport"
    assert library_internals.packets_received(connection) == 7


def test_asyncssh_defers_packets_until_a_key_exchange_ends():
    connection = asyncssh.SSHServerConnection.__new__(asyncssh.SSHServerConnection)
    connection._auth_complete, connection._kex_complete = True, False
    connection._deferred_packets = []
    connection.send_packet(asyncssh.constants.MSG_GLOBAL_REQUEST)
    assert library_internals.deferred_packets(connection) == 1


def test_asyncssh_asks_one_method_of_a_channel_whether_it_takes_a_variable():
    handled = asyncssh.SSHServerChannel._process_env_request
    assert inspect.signature(handled).parameters.keys() == {"self", "packet"}
    channel = asyncssh.SSHServerChannel.__new__(asyncssh.SSHServerChannel)
    library_internals.refuse_environment(channel)
    assert channel._process_env_request(b"") is False


class Service(RuntimeBase):
    async def Run(self, stream): ...

    Read = Resolve = Export = Publish = ExportPath = Run


async def test_a_client_protocol_is_the_one_that_grpclib_would_make():
    async def look() -> None:
        config = Configuration(http2_stream_window_size=70_000)
        theirs = Channel(config=config)._protocol_factory()
        ours = library_internals.client_protocol(config)
        ours_h2, theirs_h2 = vars(ours.h2_config), vars(theirs.h2_config)
        assert ours_h2 | {"logger": None} == theirs_h2 | {"logger": None}
        assert ours.config == theirs.config
        assert type(ours.handler) is type(theirs.handler)

    async with open_bridge():
        await call_asyncio(look)


async def test_a_server_protocol_has_a_handler_that_can_be_waited_for():
    async def look() -> None:
        protocol = library_internals.server_protocol(Server([Service()]))
        assert isinstance(protocol, H2Protocol)
        assert protocol.handler.check_closed()
        protocol.handler.close()
        await protocol.handler.wait_closed()
        assert protocol.handler.closing

    async with open_bridge():
        await call_asyncio(look)


def test_a_stream_is_registered_with_the_processor_that_it_is_given():
    parameter = inspect.signature(Stream.send_request).parameters["_processor"]
    assert parameter.kind is parameter.KEYWORD_ONLY


async def test_frames_that_nobody_has_read_are_counted():
    async def look() -> None:
        stream = Stream.__new__(Stream)
        stream.buffer = Buffer(lambda size: None)
        for _ in range(3):
            stream.buffer.add(b"x", 1)
        assert library_internals.unread_frames(stream) == 3
        await stream.buffer.read(2)
        assert library_internals.unread_frames(stream) == 1

    async with open_bridge():
        await call_asyncio(look)


def test_packages_whose_private_names_are_used_have_an_upper_bound():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    bounds = {line.partition(">")[0]: line for line in project["dependencies"]}
    for package in PACKAGES:
        assert ",<" in bounds[package], f"{package} has no upper bound"


def test_no_other_module_uses_private_names_of_these_libraries():
    """Neither a private module of these packages nor one of the names that `library_internals.py` uses."""
    source = Path(library_internals.__file__)
    names = {
        node.attr
        for node in ast.walk(ast.parse(source.read_text()))
        if isinstance(node, ast.Attribute) and re.match(r"_[a-z]|__for_", node.attr)
    } - {"_loop", "_run"}  # too common, and asyncio's
    assert "_process_env_request" in names
    used = {
        f"{path.relative_to(ROOT)}: {found[0]}"
        for path in source.parent.parent.rglob("*.py")
        if path != source
        for found in re.finditer(
            rf"(?<!self)\.({'|'.join(names)})\b|(asyncssh|grpclib|trio_asyncio)(\.\w+)*\._\w+",
            path.read_text(),
        )
    }
    assert not used
