"""Whether a host's key is the one that is known for it: OpenSSH's file of known hosts."""

from __future__ import annotations

import os
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

import asyncssh

if TYPE_CHECKING:
    from pathlib import Path


class Verdict(Enum):
    """What is known of a host's key."""

    KNOWN = "known"
    UNKNOWN = "unknown"
    CHANGED = "changed"


@dataclass(frozen=True, slots=True)
class HostKey:
    """A key that a host has shown.

    Args:
        line: the line for the file of known hosts.
        fingerprint: as `ssh-keygen -l` shows it.
    """

    where: str
    line: str
    fingerprint: str

    @classmethod
    def of(cls, host: str, port: int, key: asyncssh.SSHKey) -> HostKey:
        """The key of a host at a port."""
        where = place(host, port)
        public = " ".join(key.export_public_key().decode().split()[:2])
        return cls(where, f"{where} {public}", key.get_fingerprint())


class KnownHosts:
    """A file of known hosts; it need not exist. It is read anew for every connection."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def find(self, host: str, port: int) -> KnownHost:
        """What is known of a host at a port; a key of the same host at another port says nothing.

        Raises OSError or ValueError when the file can't be read.
        """
        text = self.path.read_text() if self.path.exists() else ""
        found = asyncssh.import_known_hosts(text).match(place(host, port), "", None)
        return KnownHost(found)

    def add(self, key: HostKey) -> None:
        """Remember a key. Raises OSError."""
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        content = self.path.read_bytes() if self.path.exists() else b""
        start = "" if not content or content.endswith(b"\n") else "\n"
        file = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            os.write(file, f"{start}{key.line}\n".encode())
        finally:
            os.close(file)


@dataclass(frozen=True, slots=True)
class KnownHost:
    """What is known of one host, as asyncssh takes it."""

    found: Any

    def judge(self, key: asyncssh.SSHKey) -> Verdict:
        """What a key that the host has shown is."""
        trusted, authorities, revoked, *_ = self.found
        if key in revoked:
            return Verdict.CHANGED
        if key in trusted:
            return Verdict.KNOWN
        return Verdict.CHANGED if trusted or authorities else Verdict.UNKNOWN


def place(host: str, port: int) -> str:
    """A host at a port, as the file of known hosts has it."""
    return host if port == 22 else f"[{host}]:{port}"
