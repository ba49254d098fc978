"""The stand-in's state: a repository, its people, an App, and what was made of them."""

from __future__ import annotations

import itertools
import json
import secrets
import ssl
import time
import uuid
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import httpx

from bassloop.github import User, sign
from bassloop.standin.allowances import Allowances
from bassloop.standin.faults import Faults
from bassloop.standin.git import GitRepository
from bassloop.standin.oauth import SignIns

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

KEPT_REQUESTS = 10_000
KEPT_DELIVERIES = 10_000
HOOK_SECONDS = 10.0


class StandInError(Exception):
    """The stand-in can't do what was asked of it; the message says what."""


@dataclass(frozen=True, slots=True)
class Account:
    """A user, an organization or a bot, with their SSH keys and what they may do here.

    Args:
        permission: ``admin``, ``write``, ``read`` or ``none``.
        association: what their pull requests say that they are to the repository.
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
class Token:
    """An installation's token: when it expires (seconds since the epoch) and what it may do."""

    expires_at: float
    permissions: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Delivered:
    """What became of a delivery: its id, and what the loop answered."""

    guid: str
    status: int
    message: str


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt at a delivery. `status` is 0 when nobody answered."""

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


@dataclass(eq=False)
class StandIn:
    """A stand-in for github.com with one repository, its people, and one App installed on it.

    Args:
        repository_path: any local repository, also a worktree of one; it is only read.
        owner: the login that the repository is of; the user's own unless it differs from `login`.
        keys: the user's public SSH keys, as lines of an authorized_keys file.
        app_key: the App's *public* key, PEM; requests must be signed with its private half.
        permissions: what the App was granted; GitHub refuses what needs more.
        hook_config: what the webhook's settings are, where they differ from those of a sound App.
        device_flow: whether it is ticked in the App's settings.
        manifest_code: a code that is good, once, for the credentials of the App.
        manifest: what an App was asked for with on the web page, which gave the code then.
        app_private_key: the App's private key, PEM, for who has that code.
        hook_url: a loop that is told of check runs that are created and completed, as GitHub does.
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
    attempts: list[Attempt] = field(default_factory=list)
    requests: list[tuple[str, str, int]] = field(default_factory=list)
    tokens: dict[str, Token] = field(default_factory=dict)
    faults: Faults = field(default_factory=Faults)
    allowances: Allowances = field(default_factory=Allowances)
    sign_ins: SignIns = field(default_factory=SignIns)
    accounts: dict[str, Account] = field(default_factory=dict)
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
        """Its first user, who sends what is delivered unless somebody else is named."""
        account = self.account(self.login)
        return User(account.id, account.node_id, account.login)

    @property
    def client_id(self) -> str:
        """The App's, with which people sign in."""
        return f"Iv1.{self.app_id:016x}"

    @property
    def owner_account(self) -> Account:
        """Whose the repository is."""
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
        """Who a login is. Raises StandInError for nobody's."""
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
        """Somebody else, to send events or to have a fork; known already, with these keys now."""
        known = self.accounts.get(login.lower())
        number = known.id if known else 101 + len(self.accounts)
        return self._add(Account(number, login, tuple(keys), type, permission, association))

    def _add(self, account: Account) -> Account:
        self.accounts[account.login.lower()] = account
        return account

    def new_token(self, permissions: Mapping[str, str] | None = None) -> tuple[str, float]:
        """An installation's token, and when it expires."""
        value, expires = "ghs_" + secrets.token_urlsafe(32), time.time() + 3600
        granted = self.permissions if permissions is None else permissions
        self.tokens[value] = Token(expires, dict(granted))
        return value, expires

    async def prepare(self) -> None:
        """Find out the default branch, unless it was given. Raises StandInError without git."""
        if not self.default_branch:
            branches = [await self.git.branch(), "main", "master"]
            exist = [
                name for name in ("main", "master") if await self.git.commit(f"refs/heads/{name}")
            ]
            self.default_branch = next(filter(None, [*exist, *branches]))

    async def payload(
        self, event: str, action: str | None = None, **options: Any
    ) -> dict[str, Any]:
        """A payload for an event; see :func:`bassloop.standin.payloads.make` for what can be chosen.

        Raises StandInError for an event that it can't make one for.
        """
        from bassloop.standin import payloads

        return await payloads.make(self, event, action, **options)

    async def deliver(
        self, loop_url: str, event: str, payload: Mapping[str, Any], *, guid: str | None = None
    ) -> Delivered:
        """Sign a payload and post it, as GitHub does. Raises StandInError when nobody answers.

        Either way the attempt is listed by the deliveries API.

        Args:
            loop_url: the loop's, without the webhook's path.
            guid: of an earlier delivery that this one is again.
        """
        body, number = json.dumps(payload).encode(), guid or str(uuid.uuid4())
        address = f"{loop_url}/integrations/github/events"
        try:
            answer = await self._post(address, event, number, body)
        except httpx.HTTPError as error:
            self._note(number, event, payload, address, 0, redelivery=guid is not None)
            raise StandInError(f"the loop at {loop_url} did not answer: {error!r}") from error
        self._note(number, event, payload, address, answer.status_code, redelivery=guid is not None)
        return Delivered(number, answer.status_code, answer.text[:500])

    def lose(self, event: str, payload: Mapping[str, Any], *, loop_url: str = "") -> str:
        """A delivery that the loop never saw, as while it was down. Returns its guid."""
        guid = str(uuid.uuid4())
        self._note(
            guid, event, payload, f"{loop_url}/integrations/github/events", 0, redelivery=False
        )
        return guid

    def made_older(self, guid: str, *, status: int, seconds: float) -> None:
        """Let the attempts of a delivery have been made earlier, and have been answered with a status."""
        self.attempts = sorted(
            (
                replace(each, status=status, delivered_at=each.delivered_at - seconds)
                if each.guid == guid
                else each
                for each in self.attempts
            ),
            key=lambda each: each.delivered_at,
        )

    async def _post(self, address: str, event: str, guid: str, body: bytes) -> httpx.Response:
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "GitHub-Hookshot/standin",
            "X-GitHub-Event": event,
            "X-GitHub-Delivery": guid,
            "X-GitHub-Hook-ID": "1",
            "X-GitHub-Hook-Installation-Target-ID": str(self.app_id),
            "X-GitHub-Hook-Installation-Target-Type": "integration",
            "X-Hub-Signature-256": sign(self.webhook_secret.encode(), body),
        }
        # It only speaks to loopback; reading the system's certificates would take most of its time.
        no_certificates = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        async with httpx.AsyncClient(
            timeout=HOOK_SECONDS, trust_env=False, verify=no_certificates
        ) as client:
            return await client.post(address, content=body, headers=headers)

    def _note(
        self,
        guid: str,
        event: str,
        payload: Mapping[str, Any],
        url: str,
        status: int,
        *,
        redelivery: bool,
    ) -> None:
        number, now = next(self.ids), time.time()
        self.attempts.append(Attempt(number, guid, event, payload, now, url, status, redelivery))
        del self.attempts[:-KEPT_DELIVERIES]
