"""The daemon's secrets on disk: the key that signs sessions, and its TLS certificate."""

from __future__ import annotations

import secrets
import ssl
from typing import TYPE_CHECKING

from bassloop.daemon import StartError
from bassloop.private_files import ExposedFileError, read_private_file, write_private_file
from bassloop.settings import SettingsError

if TYPE_CHECKING:
    from pathlib import Path

    from hypercorn.config import Config

    from bassloop.settings import Settings

FILE_NAME = "session_secret"
MIN_LENGTH = 32


def session_secret(settings: Settings) -> bytes:
    """Return SESSION_SECRET, or the content of the file in the data directory.

    A missing file is created, which signs everybody out, but does no other harm. Nodes that share the folder use the
    same one. Raises SettingsError if the file can't be used.
    """
    if settings.session_secret is not None:
        return settings.session_secret.get_secret_value().encode()
    path = settings.data_dir / FILE_NAME
    try:
        if not path.exists():
            _make_secret(path)
        secret = read_private_file(path).strip()
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


def _make_secret(path: Path) -> None:
    """Write a new secret, unless another node has just done so. Raises SettingsError."""
    try:
        write_private_file(path, secrets.token_hex(32).encode(), replace=False)
    except FileExistsError:
        return
    except OSError as error:
        raise SettingsError(f"SESSION_SECRET: can't write {path}: {error.strerror}") from error


class Certificate:
    """A certificate chain and its key, and the TLS context for new connections.

    Raises StartError if the files can't be used.
    """

    def __init__(self, chain: Path, key: Path) -> None:
        self._chain, self._key = chain, key
        self.context: ssl.SSLContext | None = None
        self._check()

    def bind(self, config: Config) -> None:
        """Make a server use this certificate."""
        config.certfile, config.keyfile = str(self._chain), str(self._key)
        create_context = config.create_ssl_context

        def create() -> ssl.SSLContext | None:
            self.context = create_context()
            return self.context

        config.create_ssl_context = create  # type: ignore[method-assign]

    def reload(self) -> None:
        """Read the files again, for future connections.

        Raises StartError if they can't be used. The old certificate stays in use then.
        """
        self._check()
        if self.context is not None:
            self._load(self.context)

    def _check(self) -> None:
        """Test the files with a temporary context, because a failure halfway would spoil the one in use."""
        self._load(ssl.create_default_context(ssl.Purpose.CLIENT_AUTH))

    def _load(self, context: ssl.SSLContext) -> None:
        for path, setting in ((self._chain, "TLS_CERT_PATH"), (self._key, "TLS_KEY_PATH")):
            try:
                path.read_bytes()
            except OSError as error:
                raise StartError(f"{setting}: can't read {path}: {error.strerror}") from error
        try:
            context.load_cert_chain(self._chain, self._key, password=_no_password)
        except (OSError, ValueError) as error:
            raise StartError(
                f"TLS_CERT_PATH, TLS_KEY_PATH: {self._chain} and {self._key} can't be used "
                f"({_reason(error)}). They are PEM: the certificate first, then its issuers, in "
                "the one file, and its key, without a password, in the other"
            ) from error


def _no_password() -> str:
    raise ValueError("the key has a password")


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLError) and error.reason:
        return error.reason.lower().replace("_", " ")
    return str(error)
