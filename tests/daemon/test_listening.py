"""The daemon can be reached from this machine at the address that it writes down."""

from __future__ import annotations

import socket
from types import SimpleNamespace
from typing import cast

import pytest

from bassloop.daemon.http_server import bind, local_address, start_listening
from bassloop.daemon.wiring import Addresses, Resources
from bassloop.settings import Settings


@pytest.mark.parametrize(
    ("address", "host"),
    [
        ("127.0.0.1:0", "127.0.0.1"),
        (":0", "127.0.0.1"),
        ("[::1]:0", "[::1]"),
        ("[::]:0", "[::1]"),
    ],
)
def test_an_address_is_shown_as_in_urls(address: str, host: str) -> None:
    with bind(address, "LISTEN") as listening:
        start_listening(listening, "LISTEN")
        port = listening.getsockname()[1]
        assert local_address(listening) == f"{host}:{port}"
        resources = cast(
            Resources, SimpleNamespace(pages=listening, metrics=None, certificate=None)
        )
        addresses = Addresses(Settings(), resources)
        assert addresses.local == f"http://{host}:{port}"
        assert addresses.host == host.strip("[]")
        socket.create_connection((host.strip("[]"), port), timeout=200).close()
