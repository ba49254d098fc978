"""The daemon's own certificate, taken anew when it changes, while connections stay."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

from bassloop.daemon.listeners import StartError

if TYPE_CHECKING:
    from pathlib import Path

    from hypercorn.config import Config


class Certificate:
    """A certificate chain and its key, and the context that new connections are made with.

    Raises StartError when they can't be used.
    """

    def __init__(self, chain: Path, key: Path) -> None:
        self._chain, self._key = chain, key
        self.context: ssl.SSLContext | None = None
        self._check()

    def bind(self, config: Config) -> None:
        """Let a server make its connections with it."""
        config.certfile, config.keyfile = str(self._chain), str(self._key)
        make = config.create_ssl_context

        def create() -> ssl.SSLContext | None:
            self.context = make()
            return self.context

        config.create_ssl_context = create  # type: ignore[method-assign]

    def reload(self) -> None:
        """Read the files again; connections from now on show what they hold. Raises StartError, and
        the old ones stay, when they can't be used."""
        self._check()
        if self.context is not None:
            self._load(self.context)

    def _check(self) -> None:
        """Try the files on a context of nobody's."""
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
