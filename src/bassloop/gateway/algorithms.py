"""The cryptography that the gateway offers: current algorithms, a post-quantum exchange first.

RSA and ECDSA are for users' keys only (GitHub lists such), with SHA-2; the host key is Ed25519
unless an older deployment brings its own.
"""

from __future__ import annotations

from typing import Any

from asyncssh.kex import get_kex_algs

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
