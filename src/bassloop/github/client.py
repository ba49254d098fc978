"""The loop's GitHub: a repository's files and check runs, users and their keys."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import httpx

from bassloop.github.api import API
from bassloop.github.app import App
from bassloop.github.errors import GitHubError, NotFound, Unauthorized
from bassloop.github.keys import Keys
from bassloop.github.limits import cut, title
from bassloop.github.models import CheckRunDraft, CheckRunRecord, Entry, PullRequest, User

MAX_FILE = 10 << 20
PULLS_LOOKED_AT = 100


@dataclass(frozen=True, slots=True)
class GitHubConfig:
    """Where GitHub is and who we are there; without an App, only users and keys can be asked for."""

    api_url: str = "https://api.github.com"
    app_id: int | None = None
    private_key: str | None = field(default=None, repr=False)


class GitHub:
    """GitHub, as one App sees it. Made by :func:`open_github`. `app` is None without credentials."""

    def __init__(self, api: API, app: App | None) -> None:
        self.api = api
        self.app = app
        self.keys = Keys(api, app.any_token if app else lambda: None)

    def repository(self, installation_id: int, owner: str, name: str) -> GitHubRepository:
        """One repository, through one installation's token. Asks nothing yet."""
        return GitHubRepository(self, installation_id, owner, name)


@asynccontextmanager
async def open_github(config: GitHubConfig) -> AsyncGenerator[GitHub]:
    """GitHub, with its connections, while the context lasts."""
    timeout = httpx.Timeout(30.0, connect=10.0)
    limits = httpx.Limits(max_connections=50, max_keepalive_connections=10)
    async with httpx.AsyncClient(timeout=timeout, limits=limits) as client:
        api = API(client, config.api_url)
        app = None
        if config.app_id is not None and config.private_key is not None:
            app = App(api, config.app_id, config.private_key)
        yield GitHub(api, app)


@dataclass(frozen=True, eq=False)
class GitHubRepository:
    """A repository. Every operation raises GitHubError when GitHub refuses or can't be reached."""

    github: GitHub
    installation_id: int
    owner: str
    name: str

    @property
    def _path(self) -> str:
        return f"/repos/{quote(self.owner)}/{quote(self.name)}"

    async def _token(self) -> str:
        if self.github.app is None:
            message = "no GitHub App is set (GITHUB_APP_ID, GITHUB_APP_PRIVATE_KEY)"
            raise Unauthorized(message)
        return await self.github.app.token(self.installation_id)

    async def file(self, path: str, ref: str) -> bytes | None:
        """A file's bytes at a commit; None when there is none, or it is a folder."""
        where = f"{self._path}/contents/{quote(path)}?ref={quote(ref)}"
        token = await self._token()
        try:
            content = await self.github.api.raw(where, token=token)
        except NotFound:
            return None
        if len(content) > MAX_FILE:
            raise GitHubError(f"{path} is longer than {MAX_FILE:,} bytes")
        return content

    async def directory(self, path: str, ref: str) -> list[Entry] | None:
        """A folder's names at a commit; None when there is none, or it is a file."""
        where = f"{self._path}/contents/{quote(path)}?ref={quote(ref)}"
        try:
            found = await self.github.api.call("GET", where, token=await self._token())
        except NotFound:
            return None
        if not isinstance(found, list):
            return None
        return [
            Entry(str(item.get("name")), str(item.get("type")), int(item.get("size") or 0))
            for item in found
        ]

    async def create_check_run(self, draft: CheckRunDraft) -> CheckRunRecord:
        """Make a check run, or find the one that was made before with the same `external_id`.

        A creation whose answer was lost is found again, so it may be repeated after a failure.
        """
        token = await self._token()
        data: dict[str, Any] = {
            "name": draft.name,
            "head_sha": draft.head_sha,
            "external_id": draft.external_id,
            "details_url": draft.details_url,
            **_state(draft.status, draft.conclusion, draft.started_at, draft.completed_at),
            "output": _output(draft.title, draft.summary, draft.text),
        }
        try:
            return _record(await self.github.api.call("POST", f"{self._path}/check-runs", token=token, data=data))
        except GitHubError as error:
            if error.status and error.status < 500:
                raise
            made = await self.find_check_run(draft.head_sha, draft.name, draft.external_id)
            if made is None:
                raise
            return made

    async def find_check_run(
        self, head_sha: str, name: str, external_id: str
    ) -> CheckRunRecord | None:
        """The head's check run with this `external_id`; None when there is none."""
        query = f"check_name={quote(name, safe='')}&filter=all&per_page=100"
        path = f"{self._path}/commits/{quote(head_sha)}/check-runs?{query}"
        async for page in self.github.api.pages(path, token=await self._token()):
            for item in page.get("check_runs", []):
                if item.get("external_id") == external_id:
                    return _record(item)
        return None

    async def update_check_run(
        self,
        check_run_id: int,
        *,
        status: str,
        title: str,
        summary: str,
        text: str | None = None,
        conclusion: str | None = None,
        completed_at: float | None = None,
    ) -> None:
        """Change a check run."""
        data = {
            **_state(status, conclusion, None, completed_at),
            "output": _output(title, summary, text),
        }
        path = f"{self._path}/check-runs/{check_run_id}"
        await self.github.api.call("PATCH", path, token=await self._token(), data=data)

    async def open_pull_requests(self, sha: str) -> list[PullRequest]:
        """The open pull requests, among the most recently changed, whose head is this commit."""
        path = f"{self._path}/pulls?state=open&sort=updated&direction=desc&per_page={PULLS_LOOKED_AT}"
        found = await self.github.api.call("GET", path, token=await self._token())
        return [_pull(item) for item in found or [] if (item.get("head") or {}).get("sha") == sha]


def _state(
    status: str, conclusion: str | None, started_at: float | None, completed_at: float | None
) -> dict[str, Any]:
    given = {
        "status": status,
        "conclusion": conclusion,
        "started_at": _time(started_at),
        "completed_at": _time(completed_at),
    }
    return {name: value for name, value in given.items() if value is not None}


def _time(at: float | None) -> str | None:
    return None if at is None else datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _output(heading: str, summary: str, text: str | None) -> dict[str, str]:
    output = {"title": title(heading), "summary": cut(summary)}
    if text is not None:
        output["text"] = cut(text)
    return output


def _record(item: Any) -> CheckRunRecord:
    try:
        return CheckRunRecord(
            id=int(item["id"]),
            name=str(item["name"]),
            head_sha=str(item["head_sha"]),
            external_id=str(item.get("external_id") or ""),
            status=str(item["status"]),
            conclusion=item.get("conclusion"),
        )
    except (TypeError, KeyError, ValueError) as error:
        raise GitHubError("GitHub's answer is no check run") from error


def _pull(item: dict[str, Any]) -> PullRequest:
    head, base = item.get("head") or {}, item.get("base") or {}
    theirs, ours = head.get("repo") or {}, base.get("repo") or {}
    user = head.get("user") or item.get("user")
    author = None
    if user:
        author = User(int(user["id"]), str(user.get("node_id", "")), str(user["login"]))
    return PullRequest(int(item["number"]), theirs.get("id") != ours.get("id"), author)
