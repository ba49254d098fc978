"""Where the daemon says that it is, is where this machine reaches it."""

from __future__ import annotations

import socket

import pytest

from bassloop.daemon.listeners import host_of, listen, shown


@pytest.mark.parametrize(
    ("address", "host"),
    [
        ("127.0.0.1:0", "127.0.0.1"),
        (":0", "127.0.0.1"),
        ("[::1]:0", "[::1]"),
        ("[::]:0", "[::1]"),
    ],
)
def test_an_address_is_shown_as_addresses_of_pages_have_it(address: str, host: str) -> None:
    with listen(address, "LISTEN") as listening:
        port = listening.getsockname()[1]
        assert shown(listening) == f"{host}:{port}"
        assert host_of(f"http://{shown(listening)}") == host.strip("[]")
        socket.create_connection((host.strip("[]"), port), timeout=10).close()
