"""The stand-in's state: a repository, its people, an App, and everything that was created."""

from __future__ import annotations

import itertools
import secrets
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from bassloop.github import User
from bassloop.standin.faults import Faults, RateLimits
from bassloop.standin.git import GitRepository

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

CODE_SECONDS = 600.0
TOKEN_SECONDS = 8 * 3600.0


class StandInError(Exception):
    """The stand-in can't do what was requested; the message has the reason."""


@dataclass(frozen=True, slots=True)
class Account:
    """A user, an organization or a bot, with their SSH keys and permission.

    Args:
        permission: ``admin``, ``write``, ``read`` or ``none``.
        association: their relation to the repository, as in their pull requests.
    """

    id: int
    login: str
    keys: Sequence[str] = ()
    type: str = "User"
    permission: str = "read"
    association: str = "CONTRIBUTOR"

    @property
    def node_id(self) -> str:
        """GitHub's other id."""
        return f"U_{self.id}"


@dataclass(frozen=True, slots=True)
class InstallationToken:
    """An installation's token: when it expires (seconds since the epoch), and its permissions."""

    expires_at: float
    permissions: Mapping[str, str]


@dataclass(slots=True)
class AuthorizationCode:
    """A code that a browser brings back: its user, address and challenge."""

    login: str
    redirect_uri: str
    challenge: str
    expires_at: float


@dataclass(slots=True)
class DeviceSignIn:
    """A terminal that waits for somebody to enter its `user_code`; `login` is the user who did."""

    user_code: str
    expires_at: float
    interval: float
    polled_at: float = 0.0
    login: str = ""
    denied: bool = False


@dataclass(eq=False)
class SignIns:
    """Codes, devices and users' tokens of the stand-in's App.

    Args:
        callback_urls: those in the App's settings; browsers are redirected only to these.
        interval: the minimum time in seconds between a terminal's requests.
    """

    client_secret: str = field(default="client-secret", repr=False)
    callback_urls: list[str] = field(default_factory=list)
    interval: float = 5.0
    codes: dict[str, AuthorizationCode] = field(default_factory=dict)
    devices: dict[str, DeviceSignIn] = field(default_factory=dict)
    tokens: dict[str, str] = field(default_factory=dict)
    issued: int = 0

    def new_code(self, login: str, parameters: Mapping[str, str]) -> str:
        """Return a code for a user who agreed."""
        code = secrets.token_hex(10)
        challenge = parameters.get("code_challenge", "")
        self.codes[code] = AuthorizationCode(
            login, parameters["redirect_uri"], challenge, time.time() + CODE_SECONDS
        )
        return code

    def new_token(self, login: str) -> dict[str, Any]:
        """Return the response with a new user's token."""
        value = "ghu_" + secrets.token_urlsafe(27)
        self.tokens[value] = login
        self.issued += 1
        return {
            "access_token": value,
            "expires_in": int(TOKEN_SECONDS),
            "refresh_token": "ghr_" + secrets.token_urlsafe(57),
            "refresh_token_expires_in": 15_897_600,
            "scope": "",
            "token_type": "bearer",
        }

    def decide(self, user_code: str, login: str, *, allow: bool = True) -> None:
        """Enter a terminal's code as a user, and agree or refuse. Raises KeyError for an unknown code."""
        waiting = {device.user_code: device for device in self.devices.values()}[user_code]
        waiting.login, waiting.denied = login, not allow


@dataclass(frozen=True, slots=True)
class LoggedAttempt:
    """One attempt at a delivery. `status` is 0 if nobody answered."""

    id: int
    guid: str
    event: str
    payload: Mapping[str, Any]
    delivered_at: float
    url: str
    status: int
    redelivery: bool = False


def _granted() -> Mapping[str, str]:
    read = dict.fromkeys(("contents", "metadata", "pull_requests", "merge_queues"), "read")
    return {"checks": "write", **read}


@dataclass(frozen=True, slots=True)
class Team:
    """An organization's team: its members' logins, and its permission."""

    members: tuple[str, ...]
    permission: str = "read"


@dataclass(eq=False)
class StandInState:
    """One repository, its people, and one App installed on it.

    Args:
        teams: the teams of the repository's owner, by slug.
        repository_path: any local repository or worktree; it's only read.
        owner: the login of the repository's owner; an organization unless it is `login`.
        keys: the user's public SSH keys, as lines of an authorized_keys file.
        app_key: the App's *public* key, PEM; requests must be signed with its private half.
        permissions: those that the App was granted; calls that need more are refused.
        hook_config: settings of the webhook that differ from the defaults.
        device_flow: whether it is enabled in the App's settings.
        manifest_code: a code that can be exchanged, once, for the App's credentials.
        manifest: the manifest that was posted to the web page, which then gave the code.
        app_private_key: the App's private key, PEM, which is exchanged for that code.
        hook_url: the address of a loop that receives events about created and completed check runs.
    """

    repository_path: Path
    owner: str
    name: str
    login: str
    keys: Sequence[str]
    app_key: str
    webhook_secret: str
    private: bool = False
    app_id: int = 1
    app_slug: str = "bass-loop"
    installation_id: int = 1
    repository_id: int = 201
    permissions: Mapping[str, str] = field(default_factory=_granted)
    events: Sequence[str] = ("merge_group", "pull_request", "push", "repository")
    default_branch: str = ""
    hook_url: str = ""
    hook_config: dict[str, str] = field(default_factory=dict)
    device_flow: bool = True
    manifest_code: str = ""
    manifest: dict[str, Any] = field(default_factory=dict)
    app_private_key: str = field(default="", repr=False)
    url: str = ""
    check_runs: list[dict[str, Any]] = field(default_factory=list)
    annotations: dict[int, list[dict[str, Any]]] = field(default_factory=dict)
    actions: dict[int, list[dict[str, str]]] = field(default_factory=dict)
    pulls: list[dict[str, Any]] = field(default_factory=list)
    attempts: list[LoggedAttempt] = field(default_factory=list)
    requests: list[tuple[str, str, int]] = field(default_factory=list)
    tokens: dict[str, InstallationToken] = field(default_factory=dict)
    faults: Faults = field(default_factory=Faults)
    rate_limits: RateLimits = field(default_factory=RateLimits)
    sign_ins: SignIns = field(default_factory=SignIns)
    accounts: dict[str, Account] = field(default_factory=dict)
    teams: dict[str, Team] = field(default_factory=dict)
    ids: itertools.count[int] = field(default_factory=lambda: itertools.count(1001))
    git: GitRepository = field(init=False)

    def __post_init__(self) -> None:
        self.git = GitRepository(self.repository_path)
        if self.login.lower() not in self.accounts:
            self._add(Account(101, self.login, self.keys, permission="admin"))
        if self.owner.lower() not in self.accounts:
            self._add(Account(100, self.owner, type="Organization", permission="none"))

    @property
    def user(self) -> User:
        """The first user, who is the default sender of events."""
        account = self.account(self.login)
        return User(account.id, account.node_id, account.login)

    @property
    def client_id(self) -> str:
        """The App's client id, for signing in."""
        return f"Iv1.{self.app_id:016x}"

    @property
    def owner_account(self) -> Account:
        """The repository's owner."""
        return self.account(self.owner)

    @property
    def full_name(self) -> str:
        """OWNER/NAME."""
        return f"{self.owner}/{self.name}"

    @property
    def api_path(self) -> str:
        """The repository's URL in the API."""
        return f"{self.url}/repos/{self.full_name}"

    def account(self, login: str) -> Account:
        """Return the account with a login. Raises StandInError if there is none."""
        found = self.accounts.get(login.lower())
        if found is None:
            raise StandInError(f"nobody here has the login {login}; add them with add_user")
        return found

    def add_user(
        self,
        login: str,
        keys: Sequence[str] = (),
        *,
        permission: str = "read",
        type: str = "User",
        association: str = "CONTRIBUTOR",
    ) -> Account:
        """Add or change a user, who can then send events or own a fork."""
        known = self.accounts.get(login.lower())
        number = known.id if known else 101 + len(self.accounts)
        return self._add(Account(number, login, tuple(keys), type, permission, association))

    def _add(self, account: Account) -> Account:
        self.accounts[account.login.lower()] = account
        return account

    def new_token(self, permissions: Mapping[str, str] | None = None) -> tuple[str, float]:
        """Return a new installation token, and when it expires."""
        value, expires = "ghs_" + secrets.token_urlsafe(32), time.time() + 3600
        granted = self.permissions if permissions is None else permissions
        self.tokens[value] = InstallationToken(expires, dict(granted))
        return value, expires

    async def prepare(self) -> None:
        """Find the default branch, unless it was given. Raises StandInError if git isn't installed."""
        if not self.default_branch:
            branches = [await self.git.branch(), "main", "master"]
            exist = [
                name for name in ("main", "master") if await self.git.commit(f"refs/heads/{name}")
            ]
            self.default_branch = next(filter(None, [*exist, *branches]))
