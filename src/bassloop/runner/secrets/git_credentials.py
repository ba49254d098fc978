"""Git credentials for the one private repository that a call is for.

The loop sends a token with the call, good for this repository's contents alone and until the call ends.
If the runner's owner allows it, their own Git is asked first. The credential is given to commands of Git
in environment variables; it is part of no thunk and no cache key, and is masked in all output. Processes
that Git starts, and whatever else a thunk calls ``git``, have it too; no other command has.
"""

from __future__ import annotations

import base64
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import structlog
import trio

if TYPE_CHECKING:
    from bassloop.runner.call_context import PrivateSource

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
        """The texts that must not appear in output."""
        return self.password, f"{self.user}:{self.password}"

    def variables(self) -> dict[str, str]:
        """Return the environment that gives it to Git, for this address alone."""
        basic = base64.b64encode(f"{self.user}:{self.password}".encode()).decode()
        bare = self.url.removesuffix("/").removesuffix(".git")
        variables = {"GIT_TERMINAL_PROMPT": "0", "GIT_CONFIG_COUNT": "2"}
        for number, url in enumerate((bare, f"{bare}.git")):
            variables[f"GIT_CONFIG_KEY_{number}"] = f"http.{url}.extraHeader"
            variables[f"GIT_CONFIG_VALUE_{number}"] = f"Authorization: Basic {basic}"
        return variables


async def find_credential(source: PrivateSource | None, *, own: bool) -> GitCredential | None:
    """Return a credential for a source, or None; with `own`, ask the owner's own Git first."""
    if source is None:
        return None
    if own and (found := await _ask_git(source.url)) is not None:
        return found
    return None if source.token is None else GitCredential(source.url, TOKEN_USER, source.token)


async def _ask_git(url: str) -> GitCredential | None:
    """Return what the owner's Git has for an address, without prompting anybody; None if nothing."""
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
