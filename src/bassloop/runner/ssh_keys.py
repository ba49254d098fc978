"""The SSH keys that a runner logs in with: those it is told, the agent's, and those of the home folder."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import asyncssh

from bassloop.runner.options import RunnerError

if TYPE_CHECKING:
    from bassloop.runner.options import RunnerOptions

NAMES = ("id_ed25519", "id_ed25519_sk", "id_ecdsa", "id_ecdsa_sk", "id_rsa")
MOST_FROM_AGENT = 16
"""A loop lets one connection try so many keys, and a few more."""


@dataclass(frozen=True, slots=True)
class Keys:
    """Keys to log in with, and what was left out, in words."""

    pairs: tuple[Any, ...]
    left_out: tuple[str, ...]


def load(options: RunnerOptions) -> tuple[Keys, tuple[Path, ...]]:
    """The keys that are files, and their paths. Raises RunnerError for a key that was asked for by name."""
    pairs, left_out, used = [], [], []
    for path in options.identities:
        pairs.append(_named(path))
        used.append(path)
    if options.default_identities:
        folder = Path.home() / ".ssh"
        for path in (folder / name for name in NAMES):
            if not path.is_file():
                continue
            try:
                pairs.append(asyncssh.read_private_key(str(path)))
                used.append(path)
            except (OSError, ValueError) as error:
                left_out.append(f"{path} is not offered: {_reason(error)}")
    return Keys(tuple(pairs), tuple(left_out)), tuple(used)


def _named(path: Path) -> asyncssh.SSHKey:
    try:
        return asyncssh.read_private_key(str(path))
    except (OSError, ValueError) as error:
        raise RunnerError(f"the key {path} can't be used: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    if isinstance(error, asyncssh.KeyEncryptionError):
        return "it has a passphrase; add it to your agent with ssh-add"
    if isinstance(error, OSError):
        return error.strerror or str(error)
    return str(error)


def agent_path(options: RunnerOptions) -> str | None:
    """Where the agent listens, if it is to be asked and there is one."""
    return os.environ.get("SSH_AUTH_SOCK") if options.use_agent else None


async def from_agent(path: str) -> tuple[asyncssh.SSHAgentClient, list[Any]]:
    """An agent and its keys; the agent has to be closed after they were used. On the asyncio side.

    Raises OSError or ValueError when there is nobody, or nobody that is an agent.
    """
    agent = await asyncssh.connect_agent(path)
    try:
        return agent, list(await agent.get_keys())[:MOST_FROM_AGENT]
    except BaseException:
        agent.close()
        raise
