"""A cache of the files that hooks are read from."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, TypeAlias

import trio

from bassloop.concurrency import SharedCalls, TTLCache, run_all

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bassloop.github import RepositoryClient

CACHE_BYTES = 16 << 20
CACHE_SECONDS = 3600.0
ENTRY_BYTES = 1 << 10

_Key: TypeAlias = "tuple[int, str, str]"


def _size(found: tuple[bytes | None]) -> int:
    return ENTRY_BYTES + len(found[0] or b"")


@dataclass(eq=False)
class HookFiles:
    """A cache of hooks' files, which are read from GitHub once for each commit.

    A commit's files never change, and most commits don't change the hook. So a commit's root folder is listed,
    and a file is read only if its blob hasn't been read for another commit. During a backlog, each saved request
    lets other work start sooner.

    Files are cached by their commit and path, and by their blob's SHA.
    """

    _cache: TTLCache[_Key, tuple[bytes | None]] = field(
        default_factory=lambda: TTLCache(CACHE_BYTES, CACHE_SECONDS, size_of=_size), init=False
    )
    _reading: SharedCalls[_Key, bytes | None] = field(default_factory=SharedCalls, init=False)
    _listing: SharedCalls[tuple[int, str], dict[str, str] | None] = field(
        default_factory=SharedCalls, init=False
    )

    declarations_thread: trio.CapacityLimiter = field(
        default_factory=partial(trio.CapacityLimiter, 1), init=False
    )
    """The thread that compiles declared checks. A stranger's file may take some 0.1 s, and several at once would leave
    less of the processor to the loop."""

    async def read(
        self, repository_id: int, repo: RepositoryClient, sha: str, path: str
    ) -> bytes | None:
        """Return a file's bytes at a commit, or None if there is none. Raises GitHubError."""
        key = repository_id, sha, path
        if (cached := self._cache.get(key)) is not None:
            return cached[0]
        content = await self._reading.share(key, lambda: repo.file(path, sha))
        self._cache.store(key, (content,))
        return content

    async def read_all(
        self, repository_id: int, repo: RepositoryClient, sha: str, paths: Iterable[str]
    ) -> dict[str, bytes | None]:
        """Return the bytes of several files at the top of a commit. Raises GitHubError."""
        paths = list(paths)
        top: dict[str, str] | None = None
        if any((repository_id, sha, path) not in self._cache for path in paths):
            top = await self._listing.share((repository_id, sha), lambda: repo.top_level(sha))
        found: dict[str, bytes | None] = {}

        async def read(path: str) -> None:
            key, blob = (repository_id, sha, path), top.get(path) if top is not None else ""
            by_blob = (repository_id, blob or "", "")
            if blob is None:
                self._cache.store(key, (None,))
            elif (kept := self._cache.get(by_blob)) is not None:
                self._cache.store(key, kept)
            found[path] = await self.read(repository_id, repo, sha, path)
            if blob:
                self._cache.store(by_blob, (found[path],))

        await run_all([partial(read, path) for path in paths])
        return found
