"""SSH signatures, in the format of `ssh-keygen -Y sign` (OpenSSH's PROTOCOL.sshsig)."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import asyncssh
from asyncssh.packet import PacketDecodeError, SSHPacket, String, UInt32

from bassloop.trust import UntrustedStatement

if TYPE_CHECKING:
    from typing import Protocol

    class VerifyingKey(Protocol):
        """A public key."""

        def verify(self, data: bytes, sig: bytes) -> bool: ...


NAMESPACE = "bassloop-statement"
"""The signatures' namespace, so that other programs' signatures are never accepted as ours, or ours as theirs."""

MAGIC = b"SSHSIG"
VERSION = 1
HASH = "sha512"
MAX_SIGNATURE = 12 << 10
"""The size limit of a signature in bytes. One by a 16,384-bit RSA key has 4,300."""

RSA_ALGORITHMS = (b"rsa-sha2-512", b"rsa-sha2-256")
"""The accepted algorithms. Like in ssh-keygen, RSA signatures over SHA-1 are refused."""

_BEGIN, _END = "-----BEGIN SSH SIGNATURE-----", "-----END SSH SIGNATURE-----"
_LINE = 70


@dataclass(frozen=True, slots=True)
class SSHSignature:
    """A signature and its key.

    Args:
        key: the public key in SSH's binary form.
        blob: the signature itself, in SSH's binary form, which begins with its algorithm.
    """

    key: bytes
    blob: bytes

    def encode(self) -> bytes:
        """Return the signature in its binary form."""
        return MAGIC + UInt32(VERSION) + _packed(self.key, NAMESPACE, b"", HASH, self.blob)

    def armored(self) -> str:
        """Return the signature as a text file for `ssh-keygen -Y verify -s`."""
        text = base64.b64encode(self.encode()).decode()
        lines = [text[start : start + _LINE] for start in range(0, len(text), _LINE)]
        return "\n".join((_BEGIN, *lines, _END, ""))

    @property
    def fingerprint(self) -> str:
        """The key's fingerprint, in OpenSSH's format."""
        return fingerprint(self.key)

    @property
    def public_key(self) -> str:
        """The key as a line of an `authorized_keys` file, without a comment."""
        return f"{_algorithm(self.key).decode()} {base64.b64encode(self.key).decode()}"

    def verify(self, message: bytes) -> None:
        """Raise UntrustedStatement unless this is a signature of the message by the key."""
        key = load_key(self.key)
        algorithm = _algorithm(self.blob)
        if _algorithm(self.key) == b"ssh-rsa" and algorithm not in RSA_ALGORITHMS:
            raise UntrustedStatement(f"the signature's algorithm {algorithm!r} is not accepted")
        try:
            right = key.verify(to_be_signed(message), self.blob)
        except (ValueError, asyncssh.Error) as error:
            raise UntrustedStatement(f"the signature can't be verified: {error}") from error
        if not right:
            raise UntrustedStatement("the signature isn't one of this statement by this key")


def to_be_signed(message: bytes) -> bytes:
    """Return the bytes that are signed for a message."""
    digest = hashlib.new(HASH, message).digest()
    return MAGIC + _packed(NAMESPACE, b"", HASH, digest)


def decode_signature(data: bytes) -> SSHSignature:
    """Read a signature in its binary form. Raises UntrustedStatement."""
    if len(data) > MAX_SIGNATURE:
        raise UntrustedStatement(f"a signature of {len(data):,} bytes; at most {MAX_SIGNATURE:,}")
    if not data.startswith(MAGIC):
        raise UntrustedStatement("this isn't an SSH signature")
    packet = SSHPacket(data[len(MAGIC) :])
    try:
        version, key = packet.get_uint32(), packet.get_string()
        namespace, _reserved = packet.get_string(), packet.get_string()
        algorithm, blob = packet.get_string(), packet.get_string()
        packet.check_end()
    except PacketDecodeError as error:
        raise UntrustedStatement("the SSH signature is truncated, or has trailing data") from error
    if version != VERSION:
        raise UntrustedStatement(f"an SSH signature of version {version}, which isn't known")
    if namespace != NAMESPACE.encode():
        raise UntrustedStatement(f"the signature is for {namespace[:60]!r}, not for {NAMESPACE}")
    if algorithm != HASH.encode():
        raise UntrustedStatement(f"the signature hashes with {algorithm[:20]!r}, not with {HASH}")
    return SSHSignature(key, blob)


def fingerprint(key: bytes) -> str:
    """Return the fingerprint, in OpenSSH's format, of a public key in SSH's binary form."""
    digest = base64.b64encode(hashlib.sha256(key).digest()).decode().rstrip("=")
    return f"SHA256:{digest}"


def load_key(key: bytes) -> VerifyingKey:
    """Load a public key from SSH's binary form. Raises UntrustedStatement."""
    line = f"{_algorithm(key).decode(errors='replace')} {base64.b64encode(key).decode()}"
    try:
        return asyncssh.import_public_key(line)
    except (ValueError, asyncssh.Error) as error:
        raise UntrustedStatement(f"the signature's key can't be used: {error}") from error


def _packed(*fields: bytes | str) -> bytes:
    return b"".join(String(each) for each in fields)


def _algorithm(data: bytes) -> bytes:
    try:
        algorithm: bytes = SSHPacket(data).get_string()
    except PacketDecodeError as error:
        raise UntrustedStatement("the signature or its key is truncated") from error
    return algorithm[:100]
