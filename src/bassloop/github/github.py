"""The GitHub client: its settings, and the parts that share its connections."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import quote

import httpx

from bassloop.addresses import is_loopback, trusted_certificates
from bassloop.concurrency import shielded
from bassloop.github.api_budget import POINTS
from bassloop.github.app_credentials import NO_APP, App, Installation
from bassloop.github.app_registration import AppWebhook
from bassloop.github.check_runs import CheckWriter
from bassloop.github.errors import GitHubError, NotFound, Unauthorized
from bassloop.github.login_keys import KNOWN_SECONDS, KeyStore, LoginKeys
from bassloop.github.oauth import OAuth, OAuthConfig
from bassloop.github.repository_client import MAX_FILE, RepositoryClient
from bassloop.github.request import ANONYMOUS, Credential
from bassloop.github.rest_client import AT_ONCE, RestClient, RetryPolicy
from bassloop.github.webhook_events import MalformedEvent, parse_repository

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from bassloop.github.models import Repository, User
    from bassloop.github.reservations import SpendingStore

CLOSE_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class GitHubConfig:
    """GitHub's address and the App's credentials. Without an App, only users and keys can be looked up.

    Args:
        api_url: the API's base URL: GitHub's, or ``https://HOST/api/v3`` of an Enterprise Server.
        private_key: PEM.
        oauth: the App that people sign in with, if any.
        retries: how often, and for how long, calls are tried.
        max_file: the size limit for a repository's files, in bytes; GitHub serves none over 100 MB.
        points: the points that a credential may spend in a minute; see :mod:`bassloop.github.api_budget`.
        known_seconds: the maximum age of a known user's keys, which are used while GitHub gives no answer.
    """

    api_url: str = "https://api.github.com"
    app_id: int | None = None
    private_key: str | None = field(default=None, repr=False)
    oauth: OAuthConfig | None = None
    retries: RetryPolicy = field(default_factory=RetryPolicy)
    max_file: int = MAX_FILE
    points: int = POINTS
    known_seconds: float = KNOWN_SECONDS


class GitHub:
    """The GitHub client; see :func:`open_github`. `app` is None without an App, `oauth` if nobody can sign in."""

    def __init__(
        self,
        api: RestClient,
        app: App | None,
        oauth: OAuth | None = None,
        *,
        max_file: int = MAX_FILE,
        key_store: KeyStore | None = None,
        known_seconds: float = KNOWN_SECONDS,
    ) -> None:
        self.api = api
        self.app = app
        self.oauth = oauth
        self.max_file = max_file
        self.keys = LoginKeys(api, self._reader, key_store, known_seconds)
        self.check_writer = CheckWriter()

    def __repr__(self) -> str:
        return f"<GitHub: {self.api!r}>"

    def statistics(self) -> dict[str, int]:
        """Return the number of calls in flight and waiting, and the backlog of writes and check runs."""
        return {**self.api.statistics(), "check_runs": self.check_writer.waiting}

    @property
    def webhook(self) -> AppWebhook:
        """The App's webhook. Raises Unauthorized without an App."""
        if self.app is None:
            raise Unauthorized(NO_APP)
        return AppWebhook(self.app)

    async def user(self, login: str) -> User | None:
        """Return the user of a login, or None if nobody has it. Raises GitHubError if GitHub gives no answer."""
        return await self.keys.user(login)

    async def public_repository(self, owner: str, name: str) -> Repository | None:
        """Return a public repository, or None if there is none, or it isn't public."""
        path = f"/repos/{quote(owner, safe='')}/{quote(name, safe='')}"
        try:
            found = await self.api.call("GET", path, credential=await self._reader())
            known = parse_repository(found or {})
        except NotFound:
            return None
        except MalformedEvent as error:
            raise GitHubError(f"GitHub's answer is not a repository: {error}") from error
        return None if known.private else known

    def repository(self, installation_id: int, owner: str, name: str) -> RepositoryClient:
        """Return a client for one repository, which uses an installation's token. Makes no request."""
        installation = Installation(self.api, self.app, installation_id)
        return RepositoryClient(installation, self.check_writer, owner, name, self.max_file)

    async def _reader(self) -> Credential:
        return ANONYMOUS if self.app is None else await self.app.any_installation()


@asynccontextmanager
async def open_github(
    config: GitHubConfig,
    *,
    transport: httpx.AsyncBaseTransport | None = None,
    key_store: KeyStore | None = None,
    spending_store: SpendingStore | None = None,
) -> AsyncGenerator[GitHub]:
    """Open a client, and close its connections on exit.

    Args:
        transport: replaces the network in tests.
        key_store: keeps the keys of known users across restarts.
        spending_store: keeps what is spent of the rate limits across restarts.
    """
    timeout = httpx.Timeout(30.0, connect=10.0)
    limits = httpx.Limits(max_connections=AT_ONCE, max_keepalive_connections=10)
    async with httpx.AsyncClient(
        timeout=timeout,
        limits=limits,
        transport=transport,
        trust_env=not is_loopback(config.api_url),
        verify=trusted_certificates(config.api_url),
    ) as client:
        api = RestClient(
            client,
            config.api_url,
            retries=config.retries,
            points=config.points,
            spending_store=spending_store,
        )
        await api.recall_spending()
        app = None
        if config.app_id is not None and config.private_key is not None:
            app = App(api, config.app_id, config.private_key)
        oauth = None if config.oauth is None else OAuth(client, config.oauth)
        try:
            yield GitHub(
                api,
                app,
                oauth,
                max_file=config.max_file,
                key_store=key_store,
                known_seconds=config.known_seconds,
            )
        finally:
            with shielded(CLOSE_SECONDS):
                await api.store_spending()
