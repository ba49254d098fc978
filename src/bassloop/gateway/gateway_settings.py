"""The gateway's settings, its host key, and its algorithms, which prefer post-quantum key exchanges.

RSA and ECDSA (with SHA-2) are allowed because users have such keys on GitHub. The host key is Ed25519, unless an older
deployment has another one.
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
"""Ciphers that take one call of OpenSSL per packet, with hardware support. ChaCha20-Poly1305 takes several calls and
ten times as long here, and makes unpatched clients vulnerable to Terrapin (CVE-2023-48795)."""
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
    """The host name by which runners reach the gateway, for the known_hosts line; `host` by default."""

    proxies: Sequence[IPv4Network | IPv6Network] = ()
    """Load balancers, whose connections begin with a header of the PROXY protocol."""
    proxy_header_seconds: float = 5.0
    """The time limit for that header."""

    connections: int = 2_000
    """The limit on concurrent connections."""
    connections_per_address: int = 100
    """The limit on concurrent connections of an IPv4 address, or a /64 of IPv6."""
    unauthenticated: int = 50
    """The limit on concurrent connections that haven't authenticated yet."""
    unauthenticated_per_address: int = 10
    """The same for each address, so that one can't keep others out."""
    refusals_per_minute: int = 20
    """How many connections of an address may fail to authenticate before further ones are refused for a while."""
    keys_per_connection: int = 20
    """How many keys a connection may try."""
    auth_seconds: float = 20.0
    """The time limit for authentication."""
    refusal_seconds: float = 0.5
    """The duration of the first refusal, which doesn't reveal whether the login exists."""
    recheck_seconds: float = 1_800.0
    """How often a connected runner's login and key are looked up again."""

    sessions_per_connection: int = 16
    """The limit on a connection's open sessions."""
    forwards_per_connection: int = 16
    """The limit on a connection's forwards."""

    keepalive_seconds: float = 25.0
    """The time after which a silent peer is sent a keepalive request, and the time between these."""
    keepalive_count: int = 2
    """How many keepalive requests may stay unanswered before the connection is closed (after 75 s in all)."""
    closing_seconds: float = 5.0
    """The time limit for ending sessions and closing connections."""

    limits: ChannelLimits = field(default_factory=ChannelLimits)
    """The limits on the memory that a call's responses can take."""
    answer_within: float = 30.0
    """The time limit for a runner to open a channel for a call."""


def exchanges() -> list[str]:
    """Return the available key exchanges, best first, with the post-quantum ones that OpenSSL has."""
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
    """The host key can't be used. The message states the problem and the fix."""


def load_host_key(path: Path, *, content: str | None = None) -> asyncssh.SSHKey:
    """Return the host key from `content` or, by default, from the file, which is created if it's missing.

    A new key is Ed25519, in a file that only its owner can read. Raises HostKeyError for a key that isn't a private
    key, has a passphrase, or is in a file that others can read.
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
    """Return the fingerprint that `ssh` shows when it sees the key for the first time: `SHA256:…`."""
    return key.get_fingerprint()


def known_hosts_line(key: asyncssh.SSHKey, host: str, port: int) -> str:
    """Return the line of a known_hosts file that lets clients recognise this host."""
    name = host if port == 22 else f"[{host}]:{port}"
    algorithm, data = key.export_public_key().decode().split()[:2]
    return f"{name} {algorithm} {data}"
