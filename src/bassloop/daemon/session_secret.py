"""With what sessions are signed: made once, and kept private."""

from __future__ import annotations

import os
import secrets
import stat
from typing import TYPE_CHECKING

from bassloop.settings import SettingsError

if TYPE_CHECKING:
    from pathlib import Path

    from bassloop.settings import Settings

NAME = "session_secret"


def session_secret(settings: Settings) -> bytes:
    """The setting, or what is in the data directory's file, which is made when it is missing; then
    nobody is signed in any more, and that is all. Raises SettingsError for one that is no secret."""
    if settings.session_secret is not None:
        return settings.session_secret.get_secret_value().encode()
    path = settings.data_dir / NAME
    try:
        try:
            descriptor = os.open(path, os.O_RDONLY)
        except FileNotFoundError:
            return _make(path)
        with open(descriptor, "rb") as file:
            mode = stat.S_IMODE(os.fstat(descriptor).st_mode)
            secret = file.read(1 << 12).strip()
    except OSError as error:
        raise SettingsError(f"SESSION_SECRET: {path} can't be used: {error.strerror}") from error
    if mode & 0o077:
        raise SettingsError(
            f"SESSION_SECRET: {path} may be read by others (mode {mode:04o}); "
            "remove it to have another one made"
        )
    if len(secret) < 32:
        raise SettingsError(
            f"SESSION_SECRET: {path} is too short; remove it to have another one made"
        )
    return secret


def _make(path: Path) -> bytes:
    """A new one, in a file for its owner alone."""
    secret = secrets.token_hex(32).encode()
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(descriptor, "wb") as file:
        file.write(secret)
        file.flush()
        os.fsync(descriptor)
    return secret
