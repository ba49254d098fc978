"""Check a host's key against OpenSSH's file of known hosts, and remember a new one."""

from __future__ import annotations

import os
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

import asyncssh

from bassloop.private_files import make_private_folder

if TYPE_CHECKING:
    from pathlib import Path


class Verdict(Enum):
    """The verdict about a host's key."""

    KNOWN = "known"
    UNKNOWN = "unknown"
    CHANGED = "changed"


@dataclass(frozen=True, slots=True)
class HostKey:
    """A key that a host has shown.

    Args:
        where: the host, as the file of known hosts has it.
        line: the line for that file.
        fingerprint: as `ssh-keygen -l` shows it.
    """

    where: str
    line: str
    fingerprint: str

    @classmethod
    def of(cls, host: str, port: int, key: asyncssh.SSHKey) -> HostKey:
        """Return the key that a host shows at a port."""
        where = host_pattern(host, port)
        public = " ".join(key.export_public_key().decode().split()[:2])
        return cls(where, f"{where} {public}", key.get_fingerprint())


@dataclass(frozen=True, slots=True)
class KnownHost:
    """The entries of known_hosts about one host.

    Args:
        matches: as asyncssh takes it.
    """

    matches: Any

    def judge(self, key: asyncssh.SSHKey) -> Verdict:
        """Return what is known of a key that the host has shown."""
        trusted, authorities, revoked, *_ = self.matches
        if key in revoked:
            return Verdict.CHANGED
        if key in trusted:
            return Verdict.KNOWN
        return Verdict.CHANGED if trusted or authorities else Verdict.UNKNOWN


class KnownHosts:
    """A file of known hosts, which need not exist. It is read again for every connection."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def find(self, host: str, port: int) -> KnownHost:
        """Return what is known of a host at a port; its keys at other ports don't count.

        Raises OSError or ValueError if the file can't be read.
        """
        text = self.path.read_text() if self.path.exists() else ""
        return KnownHost(
            asyncssh.import_known_hosts(text).match(host_pattern(host, port), "", None)
        )

    def add(self, key: HostKey) -> None:
        """Remember a key. Raises OSError."""
        make_private_folder(self.path.parent)
        content = self.path.read_bytes() if self.path.exists() else b""
        start = "" if not content or content.endswith(b"\n") else "\n"
        file = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            os.write(file, f"{start}{key.line}\n".encode())
        finally:
            os.close(file)


def host_pattern(host: str, port: int) -> str:
    """Return a host at a port as the file of known hosts has it."""
    return host if port == 22 else f"[{host}]:{port}"
