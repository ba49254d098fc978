"""The gateway's settings, its host key, and its cryptography: current algorithms, a post-quantum exchange first.

RSA and ECDSA are for users' keys only (GitHub lists such), with SHA-2; the host key is Ed25519
unless an older deployment brings its own.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import asyncssh
from asyncssh.kex import get_kex_algs

from bassloop.bridge.grpc import ChannelLimits
from bassloop.private_files import ExposedFileError, read_private_file, write_private_file

if TYPE_CHECKING:
    from collections.abc import Sequence
    from ipaddress import IPv4Network, IPv6Network
    from pathlib import Path


POST_QUANTUM = (
    "mlkem768x25519-sha256",
    "sntrup761x25519-sha512",
    "sntrup761x25519-sha512@openssh.com",
)
CLASSICAL = ("curve25519-sha256", "curve25519-sha256@libssh.org")
CIPHERS = ("aes128-gcm@openssh.com", "aes256-gcm@openssh.com")
"""One call into OpenSSL a packet, which processors help with. ChaCha20-Poly1305 is not among them: it
takes several calls a packet and ten times as long here, and an unpatched client would be open to Terrapin
(CVE-2023-48795) with it."""
MACS = ("hmac-sha2-256-etm@openssh.com", "hmac-sha2-512-etm@openssh.com")
SIGNATURES = (
    "ssh-ed25519",
    "sk-ssh-ed25519@openssh.com",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "sk-ecdsa-sha2-nistp256@openssh.com",
    "rsa-sha2-512",
    "rsa-sha2-256",
)


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


def exchanges() -> list[str]:
    """Return the available key exchanges, best first; post-quantum ones if OpenSSL has them."""
    available = {name.decode() for name in get_kex_algs()}
    return [name for name in (*POST_QUANTUM, *CLASSICAL) if name in available]


def options() -> dict[str, Any]:
    """Return the algorithms as asyncssh's options."""
    return {
        "kex_algs": exchanges(),
        "encryption_algs": list(CIPHERS),
        "mac_algs": list(MACS),
        "signature_algs": list(SIGNATURES),
        "compression_algs": ["none"],
    }


class HostKeyError(Exception):
    """The host key can't be used. The message names it and the fix."""


def load_host_key(path: Path, *, content: str | None = None) -> asyncssh.SSHKey:
    """Return the host key: `content` when given, else the one in the file, created if it is missing.

    A new key is Ed25519, its file readable by the owner alone. Raises HostKeyError for a key that
    is no private key, has a passphrase, or lies in a file that others may read.
    """
    if content is not None:
        return _read(content.strip().encode() + b"\n", "SSH_HOST_KEY")
    try:
        return _read(read_private_file(path), str(path))
    except FileNotFoundError:
        return _make(path)
    except ExposedFileError as error:
        raise HostKeyError(
            f"the SSH host key {path} may be read by others (mode {error.mode:04o}); "
            f"make it private with: chmod 600 {path}"
        ) from error
    except OSError as error:
        raise HostKeyError(f"the SSH host key {path} can't be read: {error.strerror}") from error


def _read(data: bytes, where: str) -> asyncssh.SSHKey:
    try:
        return asyncssh.import_private_key(data)
    except (asyncssh.KeyImportError, asyncssh.KeyEncryptionError) as error:
        if "passphrase" in str(error).lower():
            raise HostKeyError(
                f"the SSH host key {where} has a passphrase; the loop needs one without"
            ) from error
        raise HostKeyError(
            f"the SSH host key {where} is no private key ({error}); remove it to have one made"
        ) from error


def _make(path: Path) -> asyncssh.SSHKey:
    key = asyncssh.generate_private_key("ssh-ed25519", comment="bass-loop")
    try:
        write_private_file(path, key.export_private_key(), replace=False)
    except FileExistsError:
        return load_host_key(path)
    except OSError as error:
        raise HostKeyError(f"no SSH host key can be made at {path}: {error.strerror}") from error
    return key


def fingerprint(key: asyncssh.SSHKey) -> str:
    """Return what `ssh` shows when it sees the key for the first time: `SHA256:…`."""
    return key.get_fingerprint()


def known_hosts_line(key: asyncssh.SSHKey, host: str, port: int) -> str:
    """Return the line of a known_hosts file that lets clients recognise this host."""
    name = host if port == 22 else f"[{host}]:{port}"
    algorithm, data = key.export_public_key().decode().split()[:2]
    return f"{name} {algorithm} {data}"
