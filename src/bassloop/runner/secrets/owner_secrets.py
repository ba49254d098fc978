"""The owner's secrets from all sources, those that one call may use, and files that contain them for its commands."""

from __future__ import annotations

import base64
import os
import secrets
import shutil
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import structlog
import trio

from bassloop.runner.call_context import allows, specificity
from bassloop.runner.errors import DriverError
from bassloop.runner.secrets.masking import Mask
from bassloop.runner.secrets.secret_store import SecretError, SecretStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from bassloop.runner.call_context import CallContext, PrivateSource
    from bassloop.runner.secrets.secret_store import SecretEntry


log = structlog.get_logger(__name__)

GIT_SECONDS = 10.0
TOKEN_USER = "x-access-token"  # noqa: S105 - a user's name


@dataclass(frozen=True, slots=True)
class GitCredential:
    """A user and password for a repository's address."""

    url: str
    user: str
    password: str = field(repr=False)

    @property
    def secrets(self) -> tuple[str, ...]:
        """The texts to mask in output."""
        return self.password, f"{self.user}:{self.password}"

    def variables(self) -> dict[str, str]:
        """Return the environment variables that configure Git to use the credential, for this address only."""
        basic = base64.b64encode(f"{self.user}:{self.password}".encode()).decode()
        bare = self.url.removesuffix("/").removesuffix(".git")
        variables = {"GIT_TERMINAL_PROMPT": "0", "GIT_CONFIG_COUNT": "2"}
        for number, url in enumerate((bare, f"{bare}.git")):
            variables[f"GIT_CONFIG_KEY_{number}"] = f"http.{url}.extraHeader"
            variables[f"GIT_CONFIG_VALUE_{number}"] = f"Authorization: Basic {basic}"
        return variables


async def find_credential(source: PrivateSource | None, *, own: bool) -> GitCredential | None:
    """Return a credential for a source, or None. With `own`, ask the owner's own Git first."""
    if source is None:
        return None
    if own and (found := await _ask_git(source.url)) is not None:
        return found
    return None if source.token is None else GitCredential(source.url, TOKEN_USER, source.token)


async def _ask_git(url: str) -> GitCredential | None:
    """Return the credential that the owner's Git has for an address, or None, without prompting anybody."""
    parts = urlsplit(url)
    request = f"protocol={parts.scheme}\nhost={parts.netloc}\npath={parts.path.lstrip('/')}\n\n"
    env = {**os.environ, "GIT_TERMINAL_PROMPT": "0", "GIT_ASKPASS": "true", "SSH_ASKPASS": "true"}
    try:
        with trio.fail_after(GIT_SECONDS):
            done = await trio.run_process(
                ["git", "credential", "fill"],
                stdin=request.encode(),
                env=env,
                capture_stdout=True,
                capture_stderr=True,
                check=False,
            )
    except (OSError, trio.TooSlowError) as error:
        log.warning("git has no credential", url=url, error=str(error) or "no answer in time")
        return None
    lines = done.stdout.decode(errors="replace").splitlines()
    answer = dict(line.split("=", 1) for line in lines if "=" in line)
    user, password = answer.get("username", ""), answer.get("password", "")
    if done.returncode or not user or not password:
        return None
    return GitCredential(url, user, password)


@dataclass(frozen=True)
class GrantedSecrets:
    """The secrets that the call's repository may use, as of the beginning of the call.

    Args:
        values: the values by name.
        versions: an identifier of the current value, by name.
        refused: the reason why a secret isn't granted, by name.
        credential: the Git credential for the repository, if it's private.
    """

    context: CallContext
    values: Mapping[str, str] = field(default_factory=dict, repr=False)
    versions: Mapping[str, str] = field(default_factory=dict)
    refused: Mapping[str, str] = field(default_factory=dict)
    credential: GitCredential | None = None

    def value(self, name: str) -> str:
        """Return a secret's value. Raises DriverError, with the command that grants it."""
        if name in self.values:
            return self.values[name]
        raise DriverError(self.refused.get(name) or self._unknown(name))

    def version(self, name: str) -> str:
        """Return the line for a secret in a thunk's cache key. Raises DriverError if it isn't granted."""
        self.value(name)
        return f"secret {name} {self.versions[name]}"

    def _unknown(self, name: str) -> str:
        only = self.context.repository or "OWNER/REPO"
        return (
            f"the secret {name} has no value on this runner; its owner can give it one: "
            f"bassloop runner secret set {name} --only {only}"
        )

    @cached_property
    def mask(self) -> Mask:
        """Masks every value that the call may use, because a cached output may contain any of them."""
        git = () if self.credential is None else self.credential.secrets
        return Mask((*self.values.values(), *git))


class OwnerSecrets:
    """The secrets of the runner's owner.

    Args:
        store: contains the secrets; None if there are none.
        own_git: grant the credentials of the owner's own Git, too, but never to forks.
        given: values that aren't stored, by name. They take precedence, and forks don't get them.
    """

    def __init__(
        self,
        store: SecretStore | None = None,
        *,
        own_git: bool = False,
        given: Mapping[str, str] | None = None,
    ) -> None:
        self._store = store
        self._given = dict(given or {})
        self._given_version = secrets.token_hex(16)
        self._own_git = own_git
        self._from_keyring: dict[str, str] = {}

    async def grant(self, context: CallContext) -> GrantedSecrets:
        """Return the secrets that a call may use. Raises DriverError if they can't be read."""
        own = self._own_git and not context.fork
        credential = await find_credential(context.source, own=own)
        if self._store is None:
            return GrantedSecrets(context, credential=credential)
        found = await trio.to_thread.run_sync(self._select, self._store, context)
        return replace(found, credential=credential)

    def _select(self, store: SecretStore, context: CallContext) -> GrantedSecrets:
        try:
            entries = store.entries()
        except SecretError as error:
            raise DriverError(f"this runner's secrets can't be read: {error}") from error
        values: dict[str, str] = {}
        versions: dict[str, str] = {}
        refused: dict[str, str] = {}
        for entry in sorted(entries, key=lambda each: specificity(each.only)):
            if (reason := _reason_to_refuse(entry, context)) is not None:
                refused.setdefault(entry.name, reason)
                continue
            try:
                values[entry.name] = self._value(store, entry)
                versions[entry.name] = entry.version
            except SecretError as error:
                values.pop(entry.name, None)
                refused[entry.name] = f"the secret {entry.name} can't be used: {error}"
        if context.repository is not None and not context.fork:
            values |= self._given
            versions |= dict.fromkeys(self._given, self._given_version)
        return GrantedSecrets(context, values, versions, refused)

    def _value(self, store: SecretStore, entry: SecretEntry) -> str:
        """Return a value. The keyring is asked only once for each version, since it may prompt the user."""
        if entry.value is not None:
            return entry.value
        if entry.version not in self._from_keyring:
            self._from_keyring[entry.version] = store.value(entry)
        return self._from_keyring[entry.version]


def _reason_to_refuse(entry: SecretEntry, context: CallContext) -> str | None:
    name, repository = entry.name, context.repository
    if repository is None:
        return (
            f"the secret {name} is not granted, because the loop does not say for which repository"
        )
    if entry.only and not allows(entry.only, repository):
        return (
            f"the secret {name} is not for {repository}; the runner's owner can grant it: "
            f"bassloop runner secret set {name} --only {repository}"
        )
    if context.fork and not entry.forks:
        return (
            f"the secret {name} is not granted to forks of {repository}, because their owners decide what "
            f"is done with it. The runner's owner can allow it: bassloop runner secret set {name} "
            f"--only {repository} --forks"
        )
    return None


@dataclass(eq=False)
class SecretFiles:
    """Files with the secrets of one command, in memory if possible. Create it with :meth:`open`."""

    granted: GrantedSecrets
    _memory: Callable[[], Path]
    _files: dict[str, Path] = field(default_factory=dict)
    _folder: Path | None = None

    @classmethod
    @contextmanager
    def open(cls, granted: GrantedSecrets, memory: Callable[[], Path]) -> Iterator[SecretFiles]:
        """Yield an object without files, and remove its files on exit.

        Args:
            memory: returns the folder to create them in. It's called only if there are any.
        """
        files = cls(granted, memory)
        try:
            yield files
        finally:
            if files._folder is not None:
                shutil.rmtree(files._folder)

    @property
    def folder(self) -> Path:
        """The folder of the files, created on first use. Raises OSError."""
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(dir=self._memory()))
        return self._folder

    def file(self, name: str) -> Path:
        """Return a private file that contains a secret, created on first use. Raises DriverError."""
        if name not in self._files:
            path = self.folder / str(len(self._files))
            content = self.granted.value(name).encode(errors="surrogateescape")
            with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(content)
            self._files[name] = path
        return self._files[name]
