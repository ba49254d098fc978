"""The gateway's settings."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bassloop.bridge.grpc import ChannelLimits

if TYPE_CHECKING:
    from collections.abc import Sequence
    from ipaddress import IPv4Network, IPv6Network

    import asyncssh


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewaySettings:
    """The gateway's address and limits. Times are in seconds."""

    host_key: asyncssh.SSHKey
    host: str = "127.0.0.1"
    port: int = 0
    name: str | None = None
    """The host name under which runners reach it, for the known_hosts line; `host` by default."""

    proxies: Sequence[IPv4Network | IPv6Network] = ()
    """Balancers, whose connections begin with a header of the PROXY protocol."""
    proxy_header_seconds: float = 5.0
    """How long that header may take."""

    connections: int = 2_000
    """Connections at the same time."""
    connections_per_address: int = 100
    """Connections at the same time of one IPv4 address, or one /64 of IPv6."""
    unauthenticated: int = 50
    """Connections at the same time that have not shown a key yet,"""
    unauthenticated_per_address: int = 10
    """and such of one address, so that one can't keep the others out."""
    refusals_per_minute: int = 20
    """Connections that end without a right key before their address has to pause."""
    keys_per_connection: int = 20
    """Keys that one connection may try."""
    auth_seconds: float = 20.0
    """How long a connection may take to show a right key."""
    refusal_seconds: float = 0.5
    """How long the first refusal takes, so that its time doesn't tell known logins from others."""
    recheck_seconds: float = 1_800.0
    """How often a connected runner's login and key are looked up again."""

    sessions_per_connection: int = 16
    """Sessions that one connection may have open."""
    forwards_per_connection: int = 16
    """Forwards that one connection may ask for."""

    keepalive_seconds: float = 25.0
    """A silent peer is asked this often whether it is there,"""
    keepalive_count: int = 2
    """and is gone after so many questions without an answer (75 s in all)."""
    closing_seconds: float = 5.0
    """How long saying goodbye and cleaning up may take."""

    limits: ChannelLimits = field(default_factory=ChannelLimits)
    """What the answers of one call may make the loop hold."""
    answer_within: float = 30.0
    """How long a runner may take to open a channel for a call."""
