"""The loop's GitHub: a repository's files and check runs, users and their keys."""

from __future__ import annotations

import ipaddress
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

import httpx

from bassloop.github import contents
from bassloop.github.api import ANONYMOUS, API, AT_ONCE, Credential
from bassloop.github.app import App
from bassloop.github.check_runs import CheckRunChange
from bassloop.github.check_writer import CheckWriter
from bassloop.github.errors import GitHubError, NotFound, Unauthorized
from bassloop.github.events import MalformedEvent, parse_repository
from bassloop.github.hook import Hook
from bassloop.github.installation import Installation
from bassloop.github.keys import Keys
from bassloop.github.models import (
    CheckOutput,
    CheckRunDraft,
    CheckRunRecord,
    Entry,
    PullRequest,
    Repository,
    User,
)
from bassloop.github.oauth import OAuth, OAuthConfig
from bassloop.github.pace import Patience

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from contextlib import AbstractAsyncContextManager

    from bassloop.github.app import Token

PULLS_LOOKED_AT = 100


@dataclass(frozen=True, slots=True)
class GitHubConfig:
    """Where GitHub is and who we are there; without an App, only users and keys can be asked for.

    Args:
        api_url: the API's base URL: GitHub's, or ``https://HOST/api/v3`` of an Enterprise Server.
        private_key: PEM.
        oauth: with what people sign in, if they can.
        patience: how often and how long calls are tried.
        max_file: bytes that a repository's file may have; GitHub serves none over 100 MB.
    """

    api_url: str = "https://api.github.com"
    app_id: int | None = None
    private_key: str | None = field(default=None, repr=False)
    oauth: OAuthConfig | None = None
    patience: Patience = field(default_factory=Patience)
    max_file: int = contents.MAX_FILE


class GitHub:
    """GitHub, as one App sees it; made by :func:`open_github`. Without one, `app` is None, and
    `oauth` is where nobody can sign in."""

    def __init__(
        self,
        api: API,
        app: App | None,
        oauth: OAuth | None = None,
        *,
        max_file: int = contents.MAX_FILE,
    ) -> None:
        self.api = api
        self.app = app
        self.oauth = oauth
        self.max_file = max_file
        self.keys = Keys(api, self._reader)
        self.check_writer = CheckWriter()

    def __repr__(self) -> str:
        return f"<GitHub: {self.api!r}>"

    def statistics(self) -> dict[str, int]:
        """How many calls are asked, and wait; how many writes and check runs are behind."""
        return {**self.api.statistics(), "check_runs": self.check_writer.waiting}

    @property
    def hook(self) -> Hook:
        """The App's webhook, as GitHub sees it. Raises Unauthorized without an App."""
        if self.app is None:
            raise Unauthorized("no GitHub App is set (GITHUB_APP_ID, GITHUB_APP_PRIVATE_KEY)")
        return Hook(self.app)

    async def user(self, login: str) -> User | None:
        """Whose login this is; None for nobody's. Raises GitHubError when GitHub can't say."""
        return await self.keys.user(login)

    async def public_repository(self, owner: str, name: str) -> Repository | None:
        """A repository as anybody sees it; None for one that is not there, or is not public."""
        path = f"/repos/{quote(owner, safe='')}/{quote(name, safe='')}"
        try:
            found = await self.api.call("GET", path, credential=await self._reader())
            known = parse_repository(found or {})
        except NotFound:
            return None
        except MalformedEvent as error:
            raise GitHubError(f"GitHub's answer is no repository: {error}") from error
        return None if known.private else known

    def repository(self, installation_id: int, owner: str, name: str) -> GitHubRepository:
        """One repository, through one installation's token. Asks nothing yet."""
        return GitHubRepository(self, installation_id, owner, name)

    async def _reader(self) -> Credential:
        return ANONYMOUS if self.app is None else await self.app.any_installation()


@asynccontextmanager
async def open_github(
    config: GitHubConfig, *, transport: httpx.AsyncBaseTransport | None = None
) -> AsyncGenerator[GitHub]:
    """GitHub, with its connections, while the context lasts.

    Args:
        transport: what carries requests instead of the network, for tests.
    """
    timeout = httpx.Timeout(30.0, connect=10.0)
    limits = httpx.Limits(max_connections=AT_ONCE, max_keepalive_connections=10)
    async with httpx.AsyncClient(
        timeout=timeout,
        limits=limits,
        transport=transport,
        trust_env=not is_loopback(config.api_url),
    ) as client:
        api = API(client, config.api_url, patience=config.patience)
        app = None
        if config.app_id is not None and config.private_key is not None:
            app = App(api, config.app_id, config.private_key)
        oauth = None if config.oauth is None else OAuth(client, config.oauth)
        yield GitHub(api, app, oauth, max_file=config.max_file)


@dataclass(frozen=True, eq=False)
class GitHubRepository:
    """A repository. Every operation raises GitHubError when GitHub refuses or can't be reached."""

    github: GitHub
    installation_id: int
    owner: str
    name: str

    @property
    def _path(self) -> str:
        return f"/repos/{quote(self.owner, safe='')}/{quote(self.name, safe='')}"

    @property
    def _installation(self) -> Installation:
        return Installation(self.github.api, self.github.app, self.installation_id)

    async def info(self) -> Repository:
        """What GitHub says of the repository now."""
        found = await self._installation.call("GET", self._path)
        try:
            return parse_repository(found or {})
        except MalformedEvent as error:
            raise GitHubError(f"GitHub's answer is no repository: {error}") from error

    async def file(self, path: str, ref: str | None) -> bytes | None:
        """A file's bytes at a commit, or at the default branch's head; None when there is none, or it is
        a folder."""
        limit = self.github.max_file
        return await contents.read_file(self._installation, self._path, path, ref, limit=limit)

    async def directory(self, path: str, ref: str) -> list[Entry] | None:
        """A folder's names at a commit, at most 1,000; None when there is none, or it is a file."""
        return await contents.list_folder(self._installation, self._path, path, ref)

    async def paths(self, ref: str) -> frozenset[str] | None:
        """The paths of the files at a commit; None when there are too many for GitHub to list."""
        found = await self._installation.call(
            "GET", f"{self._path}/git/trees/{quote(ref, safe='')}?recursive=1"
        )
        try:
            if found["truncated"]:
                return None
            return frozenset(str(each["path"]) for each in found["tree"] if each["type"] == "blob")
        except (AttributeError, TypeError, KeyError) as error:
            raise GitHubError("GitHub's answer is no tree") from error

    async def head_of(self, branch: str | None = None) -> str:
        """The sha of a branch's head; of the default branch's, unless one is named."""
        ref = "HEAD" if branch is None else quote(f"heads/{branch}", safe="")
        found = await self._installation.call("GET", f"{self._path}/commits/{ref}")
        if not isinstance(found, dict) or not isinstance(found.get("sha"), str):
            raise GitHubError(f"GitHub's answer has no head for {self.owner}/{self.name}")
        return str(found["sha"])

    async def create_check_run(self, draft: CheckRunDraft) -> CheckRunRecord:
        """Make a check run, or find the one that was made before with the same `external_id`.

        A creation whose answer was lost is looked for before it is tried again, so it may be
        repeated after a failure, and after a crash. Annotations follow in requests of their own.
        Raises Refused for what GitHub would not take.
        """
        made = await self.github.check_writer.create(self._installation, self._path, draft)
        if draft.output.annotations:
            await self.update_check_run(
                made.id,
                draft.output,
                status=draft.status,
                conclusion=draft.conclusion,
                completed_at=draft.completed_at,
            )
        return made

    async def find_check_run(
        self, head_sha: str, name: str, external_id: str
    ) -> CheckRunRecord | None:
        """The head's check run with this `external_id`; None when there is none."""
        writer = self.github.check_writer
        return await writer.find(self._installation, self._path, head_sha, name, external_id)

    async def check_runs(self, ref: str, *, name: str | None = None) -> list[CheckRunRecord]:
        """Our own check runs of a commit, also those that newer ones of the same name hide."""
        return await self.github.check_writer.listed(self._installation, self._path, ref, name)

    async def update_check_run(
        self,
        check_run_id: int,
        output: CheckOutput,
        *,
        status: str,
        conclusion: str | None = None,
        started_at: float | None = None,
        completed_at: float | None = None,
    ) -> None:
        """Change a check run. A newer change of the same check run that meets an older one, still
        waiting for its turn, is sent with it as one.

        Annotations that GitHub has already are not sent again. Cancelled, the change may be made or
        not. Raises Refused for what GitHub would not take.
        """
        change = CheckRunChange(status, output, conclusion, started_at, completed_at)
        await self.github.check_writer.update(
            self._installation, f"{self._path}/check-runs/{check_run_id}", change
        )

    async def open_pull_requests(self, sha: str) -> list[PullRequest]:
        """The open pull requests, among the most recently changed, whose head is this commit."""
        path = (
            f"{self._path}/pulls?state=open&sort=updated&direction=desc&per_page={PULLS_LOOKED_AT}"
        )
        found = await self._installation.call("GET", path)
        try:
            return [
                _pull(item) for item in found or [] if (item.get("head") or {}).get("sha") == sha
            ]
        except (AttributeError, TypeError, KeyError, ValueError) as error:
            raise GitHubError("GitHub's answer is no list of pull requests") from error

    async def login_of(self, user_id: int) -> str | None:
        """Which login a user has now; None when there is no such user, or who asks may not know."""
        try:
            found = await self._installation.call("GET", f"/user/{user_id}")
        except NotFound:
            return None
        known = isinstance(found, dict) and found.get("id") == user_id
        return str(found["login"]) if known and isinstance(found.get("login"), str) else None

    def checkout_token(self, repository_id: int) -> AbstractAsyncContextManager[Token]:
        """A token that can read this repository's contents and nothing else, while the context lasts.

        See :meth:`App.checkout_token`. Raises Unauthorized without an App.
        """
        if self.github.app is None:
            raise Unauthorized("no GitHub App is set (GITHUB_APP_ID, GITHUB_APP_PRIVATE_KEY)")
        return self.github.app.checkout_token(self.installation_id, repository_id)

    async def permission(self, login: str, *, user_id: int | None = None) -> str:
        """What a user may do: ``admin``, ``write``, ``read`` or ``none``; teams count too.

        With `user_id`, a login that is somebody else's by now may do nothing.
        """
        path = f"{self._path}/collaborators/{quote(login, safe='')}/permission"
        try:
            found = await self._installation.call("GET", path)
        except NotFound:
            return "none"
        found = found if isinstance(found, dict) else {}
        allowed, whose = found.get("permission"), found.get("user")
        theirs = user_id is None or (isinstance(whose, dict) and whose.get("id") == user_id)
        return allowed if isinstance(allowed, str) and theirs else "none"


def _pull(item: dict[str, Any]) -> PullRequest:
    head, base = item.get("head") or {}, item.get("base") or {}
    theirs, ours = head.get("repo") or {}, base.get("repo") or {}
    user = head.get("user")
    if not user or user.get("type") == "Organization":
        user = item.get("user")
    author = None
    if user:
        author = User(int(user["id"]), str(user.get("node_id", "")), str(user["login"]))
    return PullRequest(
        int(item["number"]),
        theirs.get("id") != ours.get("id"),
        author,
        association=item.get("author_association"),
        base=base.get("ref"),
    )


def is_loopback(url: str) -> bool:
    """Whether a URL is this machine's own, which no proxy of the environment reaches."""
    host = urlsplit(url).hostname or ""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
