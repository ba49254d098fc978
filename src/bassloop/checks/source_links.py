"""Links to the source lines that a log names, on GitHub, at the commit that was checked."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

import structlog
import trio

from bassloop.checks.source_locations import (
    RepositoryFiles,
    RepositoryPaths,
    files_url,
    source_urls,
)
from bassloop.concurrency import KeyedLock, TokenBucket, TTLCache
from bassloop.github import GitHubError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bassloop.failures import Location
    from bassloop.github import GitHub
    from bassloop.store import CheckRun, Run, Store

log = structlog.get_logger(__name__)

MAX_COMMITS = 64
"""Commits whose paths are cached."""

CACHE_SECONDS = 3600.0
RETRY_SECONDS = 60.0
"""How long GitHub isn't asked again after an error."""

WAIT_SECONDS = 2.0
"""How long a page waits for GitHub. It is shown without links after that."""

FETCHES, FETCHES_PER_SECOND = 30, 0.2
"""Trees fetched at once and per second, for all visitors: checks need the rate limit, too."""


class SourceLinks:
    """Finds the files that a log means in the repository, and links to their lines.

    Args:
        web_url: GitHub's web host.
    """

    def __init__(self, store: Store, github: GitHub, web_url: str) -> None:
        self._store = store
        self._github = github
        self._web_url = web_url.rstrip("/")
        self._paths: TTLCache[tuple[int, str], RepositoryPaths | None] = TTLCache(
            MAX_COMMITS, CACHE_SECONDS
        )
        self._commits = KeyedLock[tuple[int, str]]()
        self._fetches = TokenBucket(FETCHES, FETCHES_PER_SECOND)

    async def urls(self, run: Run, locations: Sequence[Location]) -> dict[Location, str]:
        """Return the addresses of those locations that are in the run's repository, at its head.

        Empty if GitHub doesn't answer within `WAIT_SECONDS`, or the repository has too many files.
        """
        paths = None
        if locations:
            with trio.move_on_after(WAIT_SECONDS):
                paths = await self._repository_paths(run)
        if paths is None:
            return {}
        return source_urls(paths, files_url(self._web_url, run.repository, run.head_sha), locations)

    def known_files(self, run: Run) -> RepositoryFiles | None:
        """Return the files of a run's commit if they have been asked for before; never waits for GitHub."""
        paths = self._paths.get((run.repository_id, run.head_sha))
        if paths is None:
            return None
        return RepositoryFiles(paths, files_url(self._web_url, run.repository, run.head_sha))

    def compare_url(self, repository: str, before: str, after: str) -> str:
        """Return the address of the commits between two on GitHub."""
        return f"{self._web_url}/{quote(repository)}/compare/{quote(before)}...{quote(after)}"

    async def _repository_paths(self, run: Run) -> RepositoryPaths | None:
        key = run.repository_id, run.head_sha
        async with self._commits.hold(key):
            if key in self._paths:
                return self._paths.get(key)
            check_run = await self._store.checks.of_run(run.id)
            if check_run is None or not self._fetches.take():
                return None
            try:
                paths = await self._fetch(check_run)
            except GitHubError as error:
                log.warning("repository's files not known", run=run.id, error=str(error))
                self._paths.store(key, None, seconds=RETRY_SECONDS)
                return None
            self._paths.store(key, paths)
            return paths

    async def _fetch(self, check_run: CheckRun) -> RepositoryPaths | None:
        owner, _, name = check_run.repository.partition("/")
        repository = self._github.repository(check_run.installation_id, owner, name)
        paths = await repository.paths(check_run.head_sha)
        return None if paths is None else RepositoryPaths(paths)
