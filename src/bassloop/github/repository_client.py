"""One repository on GitHub: its files, branches, check runs, pull requests and collaborators."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from bassloop.github.app_credentials import NO_APP
from bassloop.github.check_runs import CheckRunChange
from bassloop.github.errors import GitHubError, NotFound, TooLong, Unauthorized
from bassloop.github.models import (
    CheckOutput,
    CheckRunDraft,
    CheckRunRecord,
    Entry,
    PullRequest,
    Repository,
    User,
)
from bassloop.github.webhook_events import MalformedEvent, parse_repository

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from bassloop.github.app_credentials import AccessToken, Installation
    from bassloop.github.check_runs import CheckWriter

MAX_FILE = 10 << 20
MAX_PATH = 4096
RESERVED = (".", "..", ".git")
PLAIN_MODES = ("100644", "100755")
RECENT_PULLS = 100
TEAM_PAGE = 100
REPOSITORY_OF_TEAM = "application/vnd.github.v3.repository+json"
"""The media type for which GitHub answers with a team's permissions, instead of an empty response."""


@dataclass(frozen=True, eq=False)
class RepositoryClient:
    """A client for one repository. Methods that make requests raise GitHubError."""

    installation: Installation
    check_writer: CheckWriter
    owner: str
    name: str
    max_file: int = MAX_FILE

    @property
    def _path(self) -> str:
        return f"/repos/{quote(self.owner, safe='')}/{quote(self.name, safe='')}"

    async def info(self) -> Repository:
        """Return the repository's current state."""
        found = await self.installation.call("GET", self._path)
        try:
            return parse_repository(found or {})
        except MalformedEvent as error:
            raise GitHubError(f"GitHub's answer is not a repository: {error}") from error

    async def file(self, path: str, ref: str | None) -> bytes | None:
        """Return a file's bytes, or None if there is none or it is a folder.

        GitHub follows symbolic links inside the repository. Raises GitHubError, also for a file longer than
        `max_file`.

        Args:
            ref: a commit, branch or tag; None for the default branch.
        """
        url = self._contents(path, ref)
        if url is None:
            return None
        try:
            content = await self.installation.raw(url, limit=self.max_file)
        except NotFound:
            return None
        # GitHub lists a folder as JSON even if asked for raw bytes. A file may begin like that, too; the plain
        # response tells them apart.
        if content.startswith(b"[") and isinstance(await self.installation.call("GET", url), list):
            return None
        return content

    async def directory(self, path: str, ref: str) -> list[Entry] | None:
        """Return a folder's entries at a commit, at most 1,000, or None if there is none or it is a file."""
        url = self._contents(path, ref)
        if url is None:
            return None
        try:
            found = await self.installation.call("GET", url)
        except NotFound:
            return None
        return [_entry(item) for item in found] if isinstance(found, list) else None

    def _contents(self, path: str, ref: str | None) -> str | None:
        """Return the path in the API, or None for a path that can't exist in a repository."""
        parts = path.strip("/").split("/")
        if len(path) > MAX_PATH or "\0" in path or any(part in RESERVED for part in parts):
            return None
        query = "" if ref is None else f"?ref={quote(ref, safe='')}"
        return f"{self._path}/contents/{quote('/'.join(parts))}{query}"

    async def paths(self, ref: str) -> frozenset[str] | None:
        """Return the paths of the files at a commit, or None if there are too many for GitHub to list."""
        found = await self.installation.call(
            "GET", f"{self._path}/git/trees/{quote(ref, safe='')}?recursive=1"
        )
        try:
            if found["truncated"]:
                return None
            return frozenset(str(each["path"]) for each in found["tree"] if each["type"] == "blob")
        except (AttributeError, TypeError, KeyError) as error:
            raise GitHubError("GitHub's answer is not a tree") from error

    async def top_level(self, sha: str) -> dict[str, str] | None:
        """Return the blob's SHA for each name in a commit's root folder; "" for a name that isn't a plain file.

        Returns None if GitHub doesn't list them.
        """
        try:
            found = await self.installation.call(
                "GET", f"{self._path}/git/trees/{quote(sha, safe='')}"
            )
            if found["truncated"]:
                return None
            return {
                str(each["path"]): str(each["sha"]) if each["mode"] in PLAIN_MODES else ""
                for each in found["tree"]
            }
        except (NotFound, TooLong):
            return None
        except (AttributeError, TypeError, KeyError) as error:
            raise GitHubError("GitHub's answer is not a tree") from error

    async def head_of(self, branch: str | None = None) -> str:
        """Return the sha of a branch's head; of the default branch's, unless one is named."""
        ref = "HEAD" if branch is None else quote(f"heads/{branch}", safe="")
        found = await self.installation.call("GET", f"{self._path}/commits/{ref}")
        if not isinstance(found, dict) or not isinstance(found.get("sha"), str):
            raise GitHubError(f"GitHub's answer has no head for {self.owner}/{self.name}")
        return str(found["sha"])

    async def create_check_run(self, draft: CheckRunDraft) -> CheckRunRecord:
        """Create a check run, or return the one that was created before with the same `external_id`.

        If a response was lost, the check run is looked for before creating it again, so this may be called again
        after a failure or a crash. Annotations are sent in separate requests. Raises Refused if GitHub would refuse
        it.
        """
        made = await self.check_writer.create(self.installation, self._path, draft)
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
        """Return the head's check run with this `external_id`, or None."""
        return await self.check_writer.find(
            self.installation, self._path, head_sha, name, external_id
        )

    async def check_runs(self, ref: str, *, name: str | None = None) -> list[CheckRunRecord]:
        """Return this App's check runs of a commit, including those hidden by newer ones of the same name."""
        return await self.check_writer.listed(self.installation, self._path, ref, name)

    async def update_check_run(
        self,
        check_run_id: int,
        output: CheckOutput,
        *,
        status: str,
        conclusion: str | None = None,
        completed_at: float | None = None,
    ) -> None:
        """Change a check run. Waiting changes of the same check run are merged.

        Annotations that GitHub already has aren't sent again. If cancelled, the change may or may not be
        made. Raises Refused if GitHub would refuse it.
        """
        change = CheckRunChange(status, output, conclusion, completed_at=completed_at)
        await self.check_writer.update(
            self.installation, f"{self._path}/check-runs/{check_run_id}", change
        )

    async def rerequest_payload(
        self, check_run_id: int, head_branch: str | None, sender: User
    ) -> dict[str, Any]:
        """Return the event that GitHub would deliver if `sender` re-ran a check there.

        Args:
            head_branch: the branch of this repository whose head it is; None for a fork's head.
        """
        check_run = await self.installation.call("GET", f"{self._path}/check-runs/{check_run_id}")
        repository = await self.installation.call("GET", self._path)
        try:
            suite_id = int(check_run["check_suite"]["id"])
            suite = await self.installation.call("GET", f"{self._path}/check-suites/{suite_id}")
            # GitHub also sets a suite's branch to that of a fork.
            check_run["check_suite"] = {**suite, "head_branch": head_branch}
        except (TypeError, KeyError, ValueError) as error:
            raise GitHubError("GitHub's answer is not a check run") from error
        return {
            "action": "rerequested",
            "check_run": check_run,
            "repository": repository,
            "sender": {
                "id": sender.id,
                "node_id": sender.node_id,
                "login": sender.login,
                "type": "User",
            },
            "installation": {"id": self.installation.id},
        }

    async def open_pull_requests(self, sha: str) -> list[PullRequest]:
        """Return the open pull requests whose head is this commit, among the most recently updated ones."""
        path = f"{self._path}/pulls?state=open&sort=updated&direction=desc&per_page={RECENT_PULLS}"
        found = await self.installation.call("GET", path)
        try:
            return [
                _pull(item) for item in found or [] if (item.get("head") or {}).get("sha") == sha
            ]
        except (AttributeError, TypeError, KeyError, ValueError) as error:
            raise GitHubError("GitHub's answer is not a list of pull requests") from error

    async def login_of(self, user_id: int) -> str | None:
        """Return a user's current login, or None if there is no such user, or GitHub doesn't show it."""
        try:
            found = await self.installation.call("GET", f"/user/{user_id}")
        except NotFound:
            return None
        known = isinstance(found, dict) and found.get("id") == user_id
        return str(found["login"]) if known and isinstance(found.get("login"), str) else None

    def checkout_token(self, repository_id: int) -> AbstractAsyncContextManager[AccessToken]:
        """Yield a token that can read this repository's contents and nothing else.

        See :meth:`App.checkout_token`. Raises Unauthorized without an App.
        """
        if self.installation.app is None:
            raise Unauthorized(NO_APP)
        return self.installation.app.checkout_token(self.installation.id, repository_id)

    async def permission(self, login: str, *, user_id: int | None = None) -> str:
        """Return a user's permission, also by teams: ``admin``, ``write``, ``read`` or ``none``.

        With `user_id`, it is ``none`` if the login belongs to somebody else by now.
        """
        path = f"{self._path}/collaborators/{quote(login, safe='')}/permission"
        try:
            found = await self.installation.call("GET", path)
        except NotFound:
            return "none"
        found = found if isinstance(found, dict) else {}
        allowed, user = found.get("permission"), found.get("user")
        is_theirs = user_id is None or (isinstance(user, dict) and user.get("id") == user_id)
        return allowed if isinstance(allowed, str) and is_theirs else "none"

    async def team_members(self, slug: str, most: int) -> list[User]:
        """Return members of one of the owner's teams, at most `limit`. Raises Forbidden without the permission."""
        url: str | None = f"{self._team_path(slug)}/members?per_page={TEAM_PAGE}"
        found: list[User] = []
        while url is not None and len(found) < most:
            page, url = await self.installation.page(url)
            try:
                found += [
                    User(int(each["id"]), str(each.get("node_id", "")), str(each["login"]))
                    for each in page
                ]
            except (AttributeError, TypeError, KeyError, ValueError) as error:
                raise GitHubError("GitHub's answer is not a list of users") from error
        return found[:most]

    async def team_permission(self, slug: str) -> str:
        """Return the permission of one of the owner's teams: ``admin``, ``write``, ``read`` or ``none``."""
        path = f"{self._team_path(slug)}{self._path}"
        try:
            found = await self.installation.call("GET", path, accept=REPOSITORY_OF_TEAM)
        except NotFound:
            return "none"
        allowed = found.get("permissions") if isinstance(found, dict) else None
        allowed = allowed if isinstance(allowed, dict) else {}
        levels = (("admin", "admin"), ("maintain", "write"), ("push", "write"), ("pull", "read"))
        return next((level for name, level in levels if allowed.get(name) is True), "none")

    def _team_path(self, slug: str) -> str:
        return f"/orgs/{quote(self.owner, safe='')}/teams/{quote(slug, safe='')}"


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


def _entry(item: Any) -> Entry:
    try:
        return Entry(str(item["name"]), str(item["type"]), int(item.get("size") or 0))
    except (AttributeError, TypeError, KeyError, ValueError) as error:
        raise GitHubError("GitHub's answer is not a folder") from error
