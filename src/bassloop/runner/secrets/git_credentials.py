"""Private source: how Git gets at the one repository that a call is about.

The loop hands a token over beside the call, good for this repository's contents alone and until the
call ends. Where the runner's owner allows it, their own Git is asked first. Either goes to commands of
Git, as variables that are seen from nowhere else; it is in no thunk and no key, and hidden in what is
printed. What Git starts itself, and whatever a thunk calls ``git``, has it too; no other command has.
"""

from __future__ import annotations

import base64
import os
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import structlog
import trio

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bassloop.runner.engine.command import Command

log = structlog.get_logger(__name__)

ASK_SECONDS = 10.0
TOKEN_USER = "x-access-token"  # noqa: S105 - a name


@dataclass(frozen=True, slots=True)
class PrivateSource:
    """The private repository that a call is about, as the loop has it.

    Args:
        url: where it is cloned from.
        token: the password of the user ``x-access-token`` there.
    """

    url: str
    token: str | None = field(default=None, repr=False)

    @classmethod
    def of(cls, metadata: Mapping[str, str]) -> PrivateSource | None:
        """What a call says; None for a public repository, and for an address that is not its own."""
        url, repository = (
            metadata.get("bassloop-clone-url", ""),
            metadata.get("bassloop-repository", ""),
        )
        if not url or metadata.get("bassloop-visibility") == "public":
            return None
        parts = urlsplit(url)
        path = parts.path.removesuffix(".git").strip("/")
        web = parts.scheme in ("https", "http") and parts.hostname and not parts.username
        if not web or path.lower() != repository.lower() or not url.isprintable():
            return None
        return cls(url, metadata.get("bassloop-checkout-token") or None)


@dataclass(frozen=True, slots=True)
class GitCredential:
    """Who Git is at a repository's address."""

    url: str
    user: str
    password: str = field(repr=False)

    @property
    def secrets(self) -> tuple[str, ...]:
        """What must not be seen in what is printed."""
        return self.password, f"{self.user}:{self.password}"

    def variables(self) -> dict[str, str]:
        """What tells Git so: settings of this address alone, which it writes nowhere."""
        basic = base64.b64encode(f"{self.user}:{self.password}".encode()).decode()
        bare = self.url.removesuffix("/").removesuffix(".git")
        found = {"GIT_TERMINAL_PROMPT": "0", "GIT_CONFIG_COUNT": "2"}
        for number, url in enumerate((bare, f"{bare}.git")):
            found[f"GIT_CONFIG_KEY_{number}"] = f"http.{url}.extraHeader"
            found[f"GIT_CONFIG_VALUE_{number}"] = f"Authorization: Basic {basic}"
        return found


def with_credential(command: Command, credential: GitCredential | None) -> Command:
    """The command, with the credential if it is one of Git and has no settings of its own. Pure."""
    if credential is None or not command.words or "GIT_CONFIG_COUNT" in command.env:
        return command
    if PurePosixPath(command.words[0]).name != "git":
        return command
    return replace(command, secret_env={**credential.variables(), **command.secret_env})


async def find_credential(source: PrivateSource | None, *, own: bool) -> GitCredential | None:
    """Who Git is at a source: with `own`, the owner's own Git is asked first."""
    if source is None:
        return None
    if own and (found := await _own(source.url)) is not None:
        return found
    return None if source.token is None else GitCredential(source.url, TOKEN_USER, source.token)


async def _own(url: str) -> GitCredential | None:
    """What the owner's Git has for an address; None when it has nothing, without asking a person."""
    parts = urlsplit(url)
    asked = f"protocol={parts.scheme}\nhost={parts.netloc}\npath={parts.path.lstrip('/')}\n\n"
    env = {**os.environ, "GIT_TERMINAL_PROMPT": "0", "GIT_ASKPASS": "true", "SSH_ASKPASS": "true"}
    try:
        with trio.fail_after(ASK_SECONDS):
            done = await trio.run_process(
                ["git", "credential", "fill"],
                stdin=asked.encode(),
                env=env,
                capture_stdout=True,
                capture_stderr=True,
                check=False,
            )
    except (OSError, trio.TooSlowError) as error:
        log.warning("git has no credential", url=url, error=str(error) or "it does not answer")
        return None
    said = dict(
        line.split("=", 1)
        for line in done.stdout.decode(errors="replace").splitlines()
        if "=" in line
    )
    user, password = said.get("username", ""), said.get("password", "")
    if done.returncode or not user or not password:
        return None
    return GitCredential(url, user, password)
