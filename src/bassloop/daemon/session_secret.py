"""The key that signs sessions: a setting, or a private file that is made at the first start."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from bassloop.private_files import ExposedFileError, read_private_file, write_private_file
from bassloop.settings import SettingsError

if TYPE_CHECKING:
    from bassloop.settings import Settings

FILE_NAME = "session_secret"
MIN_LENGTH = 32


def session_secret(settings: Settings) -> bytes:
    """Return SESSION_SECRET, or the content of the file in the data directory.

    The file is made if it is missing; that signs everybody out, and does no other harm. Raises SettingsError
    if the file can't be used.
    """
    if settings.session_secret is not None:
        return settings.session_secret.get_secret_value().encode()
    path = settings.data_dir / FILE_NAME
    try:
        secret = read_private_file(path).strip()
    except FileNotFoundError:
        secret = secrets.token_hex(32).encode()
        try:
            write_private_file(path, secret, replace=False)
        except OSError as error:
            raise SettingsError(f"SESSION_SECRET: can't write {path}: {error.strerror}") from error
    except OSError as error:
        raise SettingsError(f"SESSION_SECRET: can't read {path}: {error.strerror}") from error
    except ExposedFileError as error:
        raise SettingsError(
            f"SESSION_SECRET: {error}; remove it to have another one made"
        ) from error
    if len(secret) < MIN_LENGTH:
        raise SettingsError(
            f"SESSION_SECRET: {path} is too short; remove it to have another one made"
        )
    return secret
