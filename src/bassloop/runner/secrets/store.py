"""Where the owner's secrets are: a file for the owner alone, which may leave values to the keyring.

The file has names, rules and versions always. A version is made at random when a value is set: it tells
values apart, and nothing about them. Functions here block; a runner calls them in a thread.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import platformdirs

from bassloop.private_files import (
    ExposedFileError,
    make_private_folder,
    read_private_file,
    write_private_file,
)
from bassloop.runner.secrets.forms import SHORTEST
from bassloop.runner.secrets.keyring import Keyring, KeyringFailed, SystemKeyring
from bassloop.runner.secrets.rules import is_rule

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

MAX_VALUE = 512 << 10
MAX_NAME = 200


class SecretError(Exception):
    """A secret can't be kept or found; the message names it and the mend."""


@dataclass(frozen=True, slots=True)
class SecretEntry:
    """A value, and who may have it.

    Args:
        only: the rule that names its repositories; empty for all that the runner serves.
        forks: whether events of forks of these repositories get it too.
        value: None when it is in the keyring.
    """

    name: str
    only: str
    forks: bool
    version: str
    value: str | None = None

    def __repr__(self) -> str:
        return f"SecretEntry({self.name!r}, only={self.only!r}, forks={self.forks})"


class SecretStore:
    """The secrets of whoever runs this, in `path`.

    Args:
        keyring: instead of the system's.
    """

    def __init__(self, path: Path | None = None, keyring: Keyring | None = None) -> None:
        self.path = path or Path(platformdirs.user_data_dir("bass-loop")) / "runner-secrets.json"
        self._keyring = keyring

    def entries(self) -> list[SecretEntry]:
        """All that there are, by name. Raises SecretError when the file is not for its owner alone."""
        try:
            content = read_private_file(self.path, own=True)
            return [SecretEntry(**each) for each in json.loads(content)["secrets"]]
        except ExposedFileError as error:
            raise SecretError(f"{error}: chown it to you, and chmod 600 it") from error
        except FileNotFoundError:
            return []
        except OSError as error:
            raise SecretError(f"{self.path} can't be read: {error.strerror}") from error
        except (ValueError, LookupError, TypeError) as error:
            raise SecretError(f"{self.path} is not understood; set its secrets anew") from error

    def set(
        self,
        name: str,
        value: str,
        *,
        only: Iterable[str] = (),
        forks: bool = False,
        in_keyring: bool | None = None,
    ) -> str:
        """Keep a value for the repositories of some rules, instead of what these had. Raises SecretError.

        Args:
            in_keyring: whether the value goes to the keyring; where there is one when it is None.

        Returns:
            Where the value is now, for people.
        """
        rules = sorted(set(only)) or [""]
        _check(name, value, rules)
        keyring = None if in_keyring is False else self._find_keyring(needed=bool(in_keyring))
        new = [SecretEntry(name, rule, forks, secrets.token_hex(16), value) for rule in rules]
        with self._changing() as entries:
            gone = [each for each in entries if each.name == name and each.only in rules]
            if keyring is not None:
                for each in new:
                    self._asked(keyring.set, _account(each), value)
                new = [replace(each, value=None) for each in new]
            entries[:] = [each for each in entries if each not in gone] + new
        self._forget(gone)
        return str(self.path) if keyring is None else "the system's keyring"

    def remove(self, name: str, *, only: Iterable[str] = ()) -> int:
        """Forget a secret, for the repositories of some rules or for all. Returns how many went."""
        rules = set(only)
        with self._changing() as entries:
            gone = [
                each for each in entries if each.name == name and (not rules or each.only in rules)
            ]
            entries[:] = [each for each in entries if each not in gone]
        self._forget(gone)
        return len(gone)

    def value(self, entry: SecretEntry) -> str:
        """The value. Raises SecretError when the keyring does not give it."""
        if entry.value is not None:
            return entry.value
        keyring = self._find_keyring(needed=True)
        assert keyring is not None
        found = self._asked(keyring.get, _account(entry))
        if found is None:
            raise SecretError(f"the secret {entry.name} is gone from the keyring; set it anew")
        return str(found)

    def _find_keyring(self, *, needed: bool) -> Keyring | None:
        found = self._keyring or SystemKeyring.find()
        if not isinstance(found, str):
            return found
        if needed:
            raise SecretError(f"there is no keyring: {found}")
        return None

    def _forget(self, gone: Iterable[SecretEntry]) -> None:
        for each in gone:
            if each.value is None and (keyring := self._find_keyring(needed=False)) is not None:
                with suppress(SecretError):  # its version is gone, so nobody finds it any more
                    self._asked(keyring.delete, _account(each))

    def _asked(self, ask: Callable[..., Any], *words: str) -> Any:
        try:
            return ask(*words)
        except KeyringFailed as error:
            raise SecretError(f"the keyring does not answer: {error}") from error

    @contextmanager
    def _changing(self) -> Iterator[list[SecretEntry]]:
        """The entries, to be changed; written when the context ends. One process at a time."""
        try:
            make_private_folder(self.path.parent)
            folder = os.open(self.path.parent, os.O_RDONLY | os.O_CLOEXEC)
            try:
                fcntl.flock(folder, fcntl.LOCK_EX)
                entries = self.entries()
                yield entries
                self._write(sorted(entries, key=lambda each: (each.name, each.only)))
            finally:
                os.close(folder)
        except OSError as error:
            raise SecretError(f"{self.path} can't be written: {error.strerror}") from error

    def _write(self, entries: list[SecretEntry]) -> None:
        text = json.dumps({"secrets": [asdict(each) for each in entries]}, indent=1)
        write_private_file(self.path, text.encode())


def _account(entry: SecretEntry) -> str:
    return f"{entry.name} {entry.version}"


def _check(name: str, value: str, rules: list[str]) -> None:
    if not name or len(name) > MAX_NAME or not name.isprintable() or " " in name:
        raise SecretError(f"{name[:50]!r} is no name of a secret")
    for rule in rules:
        if rule and not is_rule(rule):
            raise SecretError(f"--only {rule}: must be OWNER/REPO or OWNER/*")
    if "\0" in value or len(value) > MAX_VALUE:
        raise SecretError(f"{name}: must be text, {MAX_VALUE >> 10} KiB at most")
    if len(value.strip()) < SHORTEST:
        raise SecretError(
            f"{name}: must have {SHORTEST} characters at least; shorter ones can't be hidden in logs"
        )
