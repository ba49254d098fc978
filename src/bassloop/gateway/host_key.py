"""The gateway's host key: created once, kept private, and shown so that people can recognise it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import asyncssh

from bassloop.private_files import ExposedFileError, read_private_file, write_private_file

if TYPE_CHECKING:
    from pathlib import Path


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
