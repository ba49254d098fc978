"""The system's keyring, where there is one: the library `keyring`, which is an extra of this package."""

from __future__ import annotations

import importlib
from typing import Any, Protocol

SERVICE = "bassloop-runner"


class KeyringFailed(Exception):
    """The keyring is locked, or can't be asked; the message is what it said."""


class Keyring(Protocol):
    """Keeps texts by name."""

    def get(self, name: str) -> str | None:
        """A text; None when there is none. Raises KeyringFailed."""

    def set(self, name: str, value: str) -> None:
        """Keep a text. Raises KeyringFailed."""

    def delete(self, name: str) -> None:
        """Forget a text; one that is not there is no error. Raises KeyringFailed."""


class SystemKeyring:
    """The one that the library finds."""

    def __init__(self, library: Any) -> None:
        self._library = library

    @classmethod
    def find(cls) -> SystemKeyring | str:
        """The keyring; or why there is none."""
        try:
            library = importlib.import_module("keyring")
        except ImportError:
            return "the library keyring is not installed (pip install 'bassloop[keyring]')"
        backend = library.get_keyring()
        if backend.priority <= 0:
            return "this system has no keyring that can be reached"
        return cls(library)

    def get(self, name: str) -> str | None:
        found = self._ask("get_password", name)
        return None if found is None else str(found)

    def set(self, name: str, value: str) -> None:
        self._ask("set_password", name, value)

    def delete(self, name: str) -> None:
        if self.get(name) is not None:
            self._ask("delete_password", name)

    def _ask(self, what: str, *words: str) -> Any:
        try:
            return getattr(self._library, what)(SERVICE, *words)
        except Exception as error:  # backends raise errors of their own, of D-Bus and of macOS
            raise KeyringFailed(str(error) or type(error).__name__) from error
