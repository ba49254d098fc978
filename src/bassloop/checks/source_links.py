"""Source locations in logs, resolved to a repository's files, for annotations and for links to GitHub.

A command sees the checkout wherever its container has it, and tests name files relative to where they run. If the
repository's files are known, a path is resolved to the one with the same ending. Otherwise, only relative paths that
stay inside are used, unchanged.
"""

from __future__ import annotations

import posixpath
from bisect import bisect_left
from typing import TYPE_CHECKING
from urllib.parse import quote

import structlog
import trio

from bassloop.concurrency import KeyedLock, TokenBucket, TTLCache
from bassloop.github import Annotation, GitHubError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from bassloop.failures import Location, LogAnnotation
    from bassloop.github import GitHub
    from bassloop.store import CheckRun, Run, Store


MAX_ANNOTATIONS = 100
"""The limit for one check run; GitHub accepts 50 in a request."""

_LIBRARIES = (
    "/usr/",
    "/lib/",
    "/lib64/",
    "/opt/",
    "/nix/",
    "/site-packages/",
    "/dist-packages/",
    "/node_modules/",
    "/.cargo/registry/",
    "/rustc/",
    "/go/pkg/mod/",
)

log = structlog.get_logger(__name__)

MAX_COMMITS = 64
"""How many commits' paths are cached."""

CACHE_SECONDS = 3600.0
RETRY_SECONDS = 60.0
"""How long to wait before asking GitHub again after an error, in seconds."""

WAIT_SECONDS = 2.0
"""How long a page waits for GitHub before it is shown without links, in seconds."""

FETCHES, FETCHES_PER_SECOND = 30, 0.2
"""The burst and rate per second of fetched trees, for all visitors, since checks need the rate limit, too."""


def annotate(
    found: Sequence[LogAnnotation], paths: RepositoryPaths, limit: int = MAX_ANNOTATIONS
) -> list[Annotation]:
    """Return GitHub's annotations for a log's, in order, each once; failures first if there are too many.

    Slow for many locations: use a thread.
    """
    placed: dict[Annotation, None] = {}
    for each in found:
        resolved = _resolve_first(paths, each.locations)
        if resolved is not None:
            path, location = resolved
            placed.setdefault(
                Annotation(
                    path=path,
                    line=location.line,
                    message=each.message,
                    level=each.level,
                    title=each.title,
                    column=location.column,
                )
            )
    annotations = list(placed)
    if len(annotations) > limit:
        order = {"failure": 0, "warning": 1}
        by_level = sorted(annotations, key=lambda annotation: order.get(annotation.level, 2))
        chosen = set(by_level[:limit])
        annotations = [annotation for annotation in annotations if annotation in chosen]
    return annotations


def source_urls(
    paths: RepositoryPaths, base: str, locations: Iterable[Location]
) -> dict[Location, str]:
    """Return the URLs of those locations that are in the repository.

    Args:
        base: the URL of the repository's files at the commit.
    """
    files = RepositoryFiles(paths, base)
    found = {location: files.url(location.path, location.line) for location in locations}
    return {location: url for location, url in found.items() if url is not None}


def files_url(web_url: str, repository: str, sha: str) -> str:
    """Return the URL of a repository's files at a commit, on GitHub's web host."""
    return f"{web_url.rstrip('/')}/{quote(repository)}/blob/{quote(sha)}"


def _resolve_first(
    paths: RepositoryPaths, locations: Iterable[Location]
) -> tuple[str, Location] | None:
    for location in locations:
        path = paths.resolve(location.path)
        if path is not None:
            return path, location
    return None


class RepositoryFiles:
    """The URLs of a repository's files at a commit.

    Args:
        base: the URL to which paths are appended.
    """

    def __init__(self, paths: RepositoryPaths, base: str) -> None:
        self._paths = paths
        self._base = base

    def url(self, path: str, line: int) -> str | None:
        """Return the URL of a line in the file that a log refers to, or None if there is none."""
        known = self._paths.resolve(path)
        return None if known is None else f"{self._base}/{quote(known)}#L{line}"


class RepositoryPaths:
    """Resolves paths in logs to those of the repository. Slow to make: use a thread.

    Args:
        known: the repository's files at a commit; None if they aren't known.
    """

    def __init__(self, known: Collection[str] | None) -> None:
        self._known = None if known is None else frozenset(known)
        # Reversed, so that paths with the same end are neighbours: a stranger's may have the same name in 100,000
        # folders.
        self._reversed = sorted(f"/{path}"[::-1] for path in known or ())

    def resolve(self, path: str) -> str | None:
        """Return the repository's path for a path in a log, or None if there is none, or it's ambiguous."""
        slashed = path.replace("\\", "/")
        if any(part in f"/{slashed}" for part in _LIBRARIES):
            return None
        clean = posixpath.normpath(slashed)
        if self._known is None:
            inside = not clean.startswith(("/", "../", "~")) and clean not in (".", "..")
            return clean if inside else None
        while clean.startswith("../"):
            clean = clean[3:]
        if clean in self._known:
            return clean
        return self._only_ending_in(clean) or self._longest_end(clean)

    def _longest_end(self, path: str) -> str | None:
        """Return the longest suffix of a path that is a path of the repository."""
        assert self._known is not None
        rest = path.lstrip("/")
        while rest:
            if rest in self._known:
                return rest
            rest = rest.partition("/")[2]
        return None

    def _only_ending_in(self, path: str) -> str | None:
        """Return the only path that ends in this one, since tests name files relative to their own directory."""
        if path.startswith("/"):
            return None
        ending = f"/{path}"[::-1]
        at = bisect_left(self._reversed, ending)
        found = [each for each in self._reversed[at : at + 2] if each.startswith(ending)]
        return found[0][::-1].removeprefix("/") if len(found) == 1 else None


class SourceLinks:
    """Finds the repository's files that a log refers to, and links to their lines.

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
        """Return the URLs of those locations that are in the run's repository, at its head.

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
        """Return the files of a run's commit if they are cached; never waits for GitHub."""
        paths = self._paths.get((run.repository_id, run.head_sha))
        if paths is None:
            return None
        return RepositoryFiles(paths, files_url(self._web_url, run.repository, run.head_sha))

    def compare_url(self, repository: str, before: str, after: str) -> str:
        """Return the URL of a comparison of two commits on GitHub."""
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
        return None if paths is None else await trio.to_thread.run_sync(RepositoryPaths, paths)
