"""What one call may have of the owner's secrets."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING

import trio

from bassloop.runner.errors import DriverError
from bassloop.runner.secrets.git_credentials import GitCredential, find_credential
from bassloop.runner.secrets.mask import Mask
from bassloop.runner.secrets.rules import allows, narrowness
from bassloop.runner.secrets.store import SecretError, SecretStore

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bassloop.runner.context import CallContext
    from bassloop.runner.secrets.store import SecretEntry


@dataclass(frozen=True)
class GrantedSecrets:
    """The secrets of one call: those that its repository may have, as they are now.

    Args:
        values: of those that it may have.
        versions: what tells each value from the others that it had.
        refused: why the others of these names are not given.
        credential: who Git is at the repository, if that is private.
    """

    scope: CallContext
    values: Mapping[str, str] = field(default_factory=dict, repr=False)
    versions: Mapping[str, str] = field(default_factory=dict)
    refused: Mapping[str, str] = field(default_factory=dict)
    credential: GitCredential | None = None

    def value(self, name: str) -> str:
        """A secret's value. Raises DriverError with how its owner would let the thunk have it."""
        if name in self.values:
            return self.values[name]
        raise DriverError(self.refused.get(name) or self._unknown(name))

    def version(self, name: str) -> str:
        """What a thunk that names the secret is known by beside its message. Raises DriverError."""
        self.value(name)
        return f"secret {name} {self.versions[name]}"

    def _unknown(self, name: str) -> str:
        mend = f"bassloop runner secret set {name} --only {self.scope.repository or 'OWNER/REPO'}"
        return f"the secret {name} has no value on this runner; its owner can give it one: {mend}"

    @cached_property
    def mask(self) -> Mask:
        """Hides every value that this call may have: an output may have one from an earlier command."""
        git = () if self.credential is None else self.credential.secrets
        return Mask((*self.values.values(), *git))


class OwnerSecrets:
    """The owner's secrets, as drivers ask for them.

    Args:
        store: where they are; there are none when it is None.
        own_git: whether the credentials of the owner's own Git are given, never to forks.
    """

    def __init__(self, store: SecretStore | None = None, *, own_git: bool = False) -> None:
        self._store = store
        self._own_git = own_git
        self._from_keyring: dict[str, str] = {}

    async def grant(self, scope: CallContext) -> GrantedSecrets:
        """What a call for this scope may have. Raises DriverError when they can't be read."""
        own = self._own_git and not scope.fork
        credential = await find_credential(scope.source, own=own)
        if self._store is None:
            return GrantedSecrets(scope, credential=credential)
        found = await trio.to_thread.run_sync(self._look, self._store, scope)
        return replace(found, credential=credential)

    def _look(self, store: SecretStore, scope: CallContext) -> GrantedSecrets:
        try:
            entries = store.entries()
        except SecretError as error:
            raise DriverError(f"this runner's secrets can't be read: {error}") from error
        values: dict[str, str] = {}
        versions: dict[str, str] = {}
        refused: dict[str, str] = {}
        for entry in sorted(entries, key=lambda each: narrowness(each.only)):
            if (reason := _reason(entry, scope)) is not None:
                refused.setdefault(entry.name, reason)
                continue
            try:
                values[entry.name] = self._value(store, entry)
                versions[entry.name] = entry.version
            except SecretError as error:
                values.pop(entry.name, None)
                refused[entry.name] = f"the secret {entry.name} can't be given: {error}"
        return GrantedSecrets(scope, values, versions, refused)

    def _value(self, store: SecretStore, entry: SecretEntry) -> str:
        """The keyring is asked once for each version: it may ask a person."""
        if entry.value is not None:
            return entry.value
        if entry.version not in self._from_keyring:
            self._from_keyring[entry.version] = store.value(entry)
        return self._from_keyring[entry.version]


def _reason(entry: SecretEntry, scope: CallContext) -> str | None:
    """Why a scope may not have a secret; None when it may."""
    name, repository = entry.name, scope.repository
    if repository is None:
        return f"the secret {name} is not given, as the loop does not say for which repository"
    if entry.only and not allows(entry.only, repository):
        return (
            f"the secret {name} is not for {repository}; the runner's owner can give it one: "
            f"bassloop runner secret set {name} --only {repository}"
        )
    if scope.fork and not entry.forks:
        return (
            f"the secret {name} is not given to forks of {repository}: whoever forked decides what is "
            f"done with it. The runner's owner can say otherwise: bassloop runner secret set {name} "
            f"--only {repository} --forks"
        )
    return None
