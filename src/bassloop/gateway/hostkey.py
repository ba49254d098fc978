"""The gateway's own key: made once, kept private, and shown so that people can recognise it."""

from __future__ import annotations

import os
import stat
import tempfile
from typing import TYPE_CHECKING

import asyncssh

if TYPE_CHECKING:
    from pathlib import Path


class HostKeyError(Exception):
    """The host key can't be used. The message names it and the mend."""


def load_host_key(path: Path, *, content: str | None = None) -> asyncssh.SSHKey:
    """The host key: `content` when given, else the one in the file, made when it is missing.

    A new key is Ed25519, its file readable by the owner alone. Raises HostKeyError for a key that
    is no private key, has a passphrase, or lies in a file that others may read.
    """
    if content is not None:
        return _read(content.strip().encode() + b"\n", "SSH_HOST_KEY")
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return _make(path)
    except OSError as error:
        raise HostKeyError(f"the SSH host key {path} can't be read: {error.strerror}") from error
    with open(descriptor, "rb") as file:
        mode = stat.S_IMODE(os.fstat(descriptor).st_mode)
        if mode & 0o077:
            raise HostKeyError(
                f"the SSH host key {path} may be read by others (mode {mode:04o}); "
                f"make it private with: chmod 600 {path}"
            )
        return _read(file.read(1 << 16), str(path))


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
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor, name = tempfile.mkstemp(prefix=".ssh_host_key.", dir=path.parent)
        try:
            with open(descriptor, "wb") as file:
                file.write(key.export_private_key())
                file.flush()
                os.fsync(descriptor)
            os.link(name, path)
        finally:
            os.unlink(name)
    except FileExistsError:
        return load_host_key(path)
    except OSError as error:
        raise HostKeyError(f"no SSH host key can be made at {path}: {error.strerror}") from error
    return key


def fingerprint(key: asyncssh.SSHKey) -> str:
    """What `ssh` shows when it meets the key for the first time: `SHA256:…`."""
    return key.get_fingerprint()


def known_hosts_line(key: asyncssh.SSHKey, host: str, port: int) -> str:
    """The line of a known_hosts file that lets clients recognise this host."""
    name = host if port == 22 else f"[{host}]:{port}"
    algorithm, data = key.export_public_key().decode().split()[:2]
    return f"{name} {algorithm} {data}"
