"""The SSH keys that a runner logs in with: those it is given, the agent's, and those in ``~/.ssh``."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import asyncssh

from bassloop.runner.errors import RunnerError

if TYPE_CHECKING:
    from bassloop.runner.options import RunnerOptions

DEFAULT_NAMES = ("id_ed25519", "id_ed25519_sk", "id_ecdsa", "id_ecdsa_sk", "id_rsa")
MAX_FROM_AGENT = 16
"""A loop lets one connection try so many keys, and a few more."""


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
