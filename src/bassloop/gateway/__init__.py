"""The SSH server that runners connect to.

    key = load_host_key(path)
    address = await nursery.start(serve_gateway, GatewaySettings(host_key=key), keys, pool, store.runtimes)

A runner authenticates with a key that GitHub lists for its login, requests a forward of `/runtime`, and runs
`forward --os linux --arch amd64`. Its runtime is in the pool until that session ends. Nothing listens for the forward:
calls open channels on the SSH connection directly.
"""

from __future__ import annotations

from bassloop.gateway.authentication import KeySource
from bassloop.gateway.gateway_settings import (
    GatewaySettings,
    HostKeyError,
    fingerprint,
    known_hosts_line,
    load_host_key,
)
from bassloop.gateway.ssh_server import GatewayAddress, RuntimeStore, serve_gateway

__all__ = [
    "GatewayAddress",
    "GatewaySettings",
    "HostKeyError",
    "KeySource",
    "RuntimeStore",
    "fingerprint",
    "known_hosts_line",
    "load_host_key",
    "serve_gateway",
]
