"""The keys of an SSH connection to a loop: the host's, which is remembered, and those to log in with."""

from __future__ import annotations

import os
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any

import asyncssh

from bassloop.private_files import make_private_folder
from bassloop.runner.errors import RunnerError

if TYPE_CHECKING:
    from bassloop.runner.options import RunnerOptions


DEFAULT_NAMES = ("id_ed25519", "id_ed25519_sk", "id_ecdsa", "id_ecdsa_sk", "id_rsa")
MAX_FROM_AGENT = 16
"""A loop lets one connection try so many keys, and a few more."""


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


@dataclass(frozen=True, slots=True)
class UserKeys:
    """Keys from files.

    Args:
        paths: where they were read from.
        skipped: for each file that can't be used, a sentence that says why.
    """

    keys: tuple[Any, ...]
    paths: tuple[Path, ...]
    skipped: tuple[str, ...]


def load(options: RunnerOptions) -> UserKeys:
    """Read the keys in files. Raises RunnerError for one that was given and can't be used."""
    keys, paths, skipped = [], [], []
    for path in options.identities:
        try:
            keys.append(asyncssh.read_private_key(str(path)))
        except (OSError, ValueError) as error:
            raise RunnerError(f"the key {path} can't be used: {_reason(error)}") from error
        paths.append(path)
    if options.default_identities:
        folder = Path.home() / ".ssh"
        for path in (folder / name for name in DEFAULT_NAMES):
            if not path.is_file():
                continue
            try:
                keys.append(asyncssh.read_private_key(str(path)))
                paths.append(path)
            except (OSError, ValueError) as error:
                skipped.append(f"{path} is not offered: {_reason(error)}")
    return UserKeys(tuple(keys), tuple(paths), tuple(skipped))


def _reason(error: Exception) -> str:
    # A wrong passphrase is a KeyEncryptionError; none at all is only told apart by its text.
    if isinstance(error, asyncssh.KeyEncryptionError) or "passphrase" in str(error).lower():
        return "it has a passphrase; add it to your agent with ssh-add"
    if isinstance(error, OSError):
        return error.strerror or str(error)
    return str(error)


def agent_path(options: RunnerOptions) -> str | None:
    """Return the socket of the agent, if there is one and it may be asked."""
    return os.environ.get("SSH_AUTH_SOCK") if options.use_agent else None


async def load_from_agent(path: str) -> tuple[asyncssh.SSHAgentClient, list[Any]]:
    """Return an agent and its keys; close the agent after they were used. For the asyncio side.

    Raises OSError or ValueError if nothing listens there, or nothing that is an agent.
    """
    agent = await asyncssh.connect_agent(path)
    try:
        return agent, list(await agent.get_keys())[:MAX_FROM_AGENT]
    except BaseException:
        agent.close()
        raise
