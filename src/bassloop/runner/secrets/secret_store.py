"""The owner's secrets on disk: a private file, which may leave the values to the system's keyring.

The file always contains names, rules and versions. A version is a random text, chosen when a value is set: it
identifies the value and discloses nothing about it. These functions block; the runner calls them in a thread.
"""

from __future__ import annotations

import fcntl
import importlib
import json
import os
import secrets
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import platformdirs

from bassloop.private_files import (
    ExposedFileError,
    make_private_folder,
    read_private_file,
    write_private_file,
)
from bassloop.runner.call_context import is_rule
from bassloop.runner.secrets.masking import SHORTEST

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

MAX_VALUE = 512 << 10
MAX_NAME = 200
KEYRING_SERVICE = "bassloop-runner"


class SecretError(Exception):
    """A secret can't be stored or found; the message names it and the fix."""


class KeyringError(Exception):
    """The keyring is locked or doesn't answer; the message is its own."""


class Keyring(Protocol):
    """Stores texts by name. Each method raises KeyringError."""

    def get(self, name: str) -> str | None: ...

    def set(self, name: str, value: str) -> None: ...

    def delete(self, name: str) -> None:
        """Delete a text; do nothing if there is none."""


@dataclass(frozen=True, slots=True)
class SecretEntry:
    """A secret's value for some repositories.

    Args:
        only: the rule that selects its repositories; empty for all that the runner serves.
        forks: grant it to events from forks of these repositories, too.
        value: None if it's in the keyring.
    """

    name: str
    only: str
    forks: bool
    version: str
    value: str | None = None

    def __repr__(self) -> str:
        return f"SecretEntry({self.name!r}, only={self.only!r}, forks={self.forks})"

    @property
    def account(self) -> str:
        """The value's name in the keyring."""
        return f"{self.name} {self.version}"


class SecretStore:
    """The secrets in the file at `path`.

    Args:
        path: by default a file in the user's data directory.
        keyring: used instead of the system's.
    """

    def __init__(self, path: Path | None = None, keyring: Keyring | None = None) -> None:
        self.path = path or Path(platformdirs.user_data_dir("bass-loop")) / "runner-secrets.json"
        self._keyring = keyring

    def entries(self) -> list[SecretEntry]:
        """Return all entries, by name. Raises SecretError, also if other users may read the file."""
        try:
            content = json.loads(read_private_file(self.path, own=True))
            return [SecretEntry(**each) for each in content["secrets"]]
        except FileNotFoundError:
            return []
        except ExposedFileError as error:
            raise SecretError(f"{error}: chown it to you, and chmod 600 it") from error
        except OSError as error:
            raise SecretError(f"{self.path} can't be read: {error.strerror}") from error
        except (ValueError, LookupError, TypeError) as error:
            raise SecretError(f"{self.path} is damaged; set its secrets again") from error

    def set(
        self,
        name: str,
        value: str,
        *,
        only: Iterable[str] = (),
        forks: bool = False,
        in_keyring: bool | None = None,
    ) -> str:
        """Store a value for the repositories that match some rules, replacing the value for these rules.

        Args:
            only: the rules; none for all repositories.
            forks: grant it to events from forks, too.
            in_keyring: store the value in the keyring; None stores it there if there is one.

        Returns:
            Where the value is stored, for people.

        Raises:
            SecretError: if the name, value or rule is invalid, or it can't be stored.
        """
        rules = sorted(set(only)) or [""]
        check_secret(name, value, rules)
        keyring = None if in_keyring is False else self._find_keyring(required=bool(in_keyring))
        new = [SecretEntry(name, rule, forks, secrets.token_hex(16), value) for rule in rules]
        with self._changing() as entries:
            old = [each for each in entries if each.name == name and each.only in rules]
            if keyring is not None:
                for each in new:
                    _ask(keyring.set, each.account, value)
                new = [replace(each, value=None) for each in new]
            entries[:] = [each for each in entries if each not in old] + new
        self._forget(old)
        return str(self.path) if keyring is None else "the system's keyring"

    def remove(self, name: str, *, only: Iterable[str] = ()) -> int:
        """Remove a secret, for some rules or for all. Return the number of removed entries."""
        rules = set(only)
        with self._changing() as entries:
            old = [
                each for each in entries if each.name == name and (each.only in rules or not rules)
            ]
            entries[:] = [each for each in entries if each not in old]
        self._forget(old)
        return len(old)

    def value(self, entry: SecretEntry) -> str:
        """Return the value of an entry. Raises SecretError if the keyring no longer has it."""
        if entry.value is not None:
            return entry.value
        keyring = self._find_keyring(required=True)
        assert keyring is not None
        found = _ask(keyring.get, entry.account)
        if found is None:
            raise SecretError(f"the secret {entry.name} is gone from the keyring; set it again")
        return str(found)

    def _find_keyring(self, *, required: bool) -> Keyring | None:
        found = self._keyring or SystemKeyring.find()
        if not isinstance(found, str):
            return found
        if required:
            raise SecretError(f"there is no keyring: {found}")
        return None

    def _forget(self, entries: Iterable[SecretEntry]) -> None:
        for each in entries:
            if each.value is None and (keyring := self._find_keyring(required=False)) is not None:
                with suppress(SecretError):  # its version is never used again
                    _ask(keyring.delete, each.account)

    @contextmanager
    def _changing(self) -> Iterator[list[SecretEntry]]:
        """Yield the entries to be changed, and store them on exit. Other processes wait meanwhile."""
        try:
            make_private_folder(self.path.parent)
            folder = os.open(self.path.parent, os.O_RDONLY | os.O_CLOEXEC)
            try:
                fcntl.flock(folder, fcntl.LOCK_EX)
                entries = self.entries()
                yield entries
                entries.sort(key=lambda each: (each.name, each.only))
                text = json.dumps({"secrets": [asdict(each) for each in entries]}, indent=1)
                write_private_file(self.path, text.encode())
            finally:
                os.close(folder)
        except OSError as error:
            raise SecretError(f"{self.path} can't be written: {error.strerror}") from error


class SystemKeyring:
    """The keyring that the library `keyring` finds. The library is an optional dependency."""

    def __init__(self, library: Any) -> None:
        self._library = library

    @classmethod
    def find(cls) -> SystemKeyring | str:
        """Return the keyring, or why there is none."""
        try:
            library = importlib.import_module("keyring")
        except ImportError:
            return "the library keyring is not installed (pip install 'bassloop[keyring]')"
        try:
            priority = library.get_keyring().priority
        except Exception as error:  # noqa: BLE001  (backends raise any, such as without a session of D-Bus)
            return f"the keyring that is configured can't be used: {error}"
        if priority <= 0:
            return "this system has no keyring that can be reached"
        return cls(library)

    def get(self, name: str) -> str | None:
        found = self._call("get_password", name)
        return None if found is None else str(found)

    def set(self, name: str, value: str) -> None:
        self._call("set_password", name, value)

    def delete(self, name: str) -> None:
        if self.get(name) is not None:
            self._call("delete_password", name)

    def _call(self, function: str, *words: str) -> Any:
        try:
            return getattr(self._library, function)(KEYRING_SERVICE, *words)
        except Exception as error:  # backends raise errors of their own, of D-Bus and of macOS
            raise KeyringError(str(error) or type(error).__name__) from error


def _ask(function: Callable[..., Any], *words: str) -> Any:
    try:
        return function(*words)
    except KeyringError as error:
        raise SecretError(f"the keyring does not answer: {error}") from error


def check_secret(name: str, value: str, rules: Iterable[str] = ()) -> None:
    """Raise SecretError for a name, a value or a rule that a secret can't have."""
    if not name or len(name) > MAX_NAME or not name.isprintable() or " " in name:
        raise SecretError(f"{name[:50]!r} can't be the name of a secret")
    for rule in rules:
        if rule and not is_rule(rule):
            raise SecretError(f"--only {rule}: must be OWNER/REPO or OWNER/*")
    if "\0" in value or len(value) > MAX_VALUE:
        raise SecretError(f"{name}: must be text of at most {MAX_VALUE >> 10} KiB")
    if len(value.strip()) < SHORTEST:
        raise SecretError(
            f"{name}: must have at least {SHORTEST} characters, because shorter ones can't be hidden in logs"
        )
