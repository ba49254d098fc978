"""The files of hooks, read from GitHub once for each commit, however many events are about it.

Most commits don't change them. So a commit's top level is listed, and a file is read only if it hasn't been read
already, at another commit: when there is a backlog, each request that is saved lets something else begin.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, TypeAlias

from bassloop.concurrency import SharedCalls, TTLCache, run_all

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bassloop.github import GitHubRepository

CACHE_BYTES = 16 << 20
CACHE_SECONDS = 3600.0
ENTRY_BYTES = 1 << 10

_Key: TypeAlias = "tuple[int, str, str]"


def _size(found: tuple[bytes | None]) -> int:
    return ENTRY_BYTES + len(found[0] or b"")


@dataclass(eq=False)
class HookFiles:
    """Files at commits. A commit never changes, so neither do they, nor does it when there is none.

    They are kept by their paths at a commit, and by their blobs, the names that Git gives to contents.
    """

    _cache: TTLCache[_Key, tuple[bytes | None]] = field(
        default_factory=lambda: TTLCache(CACHE_BYTES, CACHE_SECONDS, size_of=_size), init=False
    )
    _reading: SharedCalls[_Key, bytes | None] = field(default_factory=SharedCalls, init=False)
    _listing: SharedCalls[tuple[int, str], dict[str, str] | None] = field(
        default_factory=SharedCalls, init=False
    )

    async def read(
        self, repository_id: int, repo: GitHubRepository, sha: str, path: str
    ) -> bytes | None:
        """Return a file's bytes at a commit, or None if there is none. Raises GitHubError."""
        key = repository_id, sha, path
        if (cached := self._cache.get(key)) is not None:
            return cached[0]
        content = await self._reading.share(key, lambda: repo.file(path, sha))
        self._cache.store(key, (content,))
        return content

    async def read_all(
        self, repository_id: int, repo: GitHubRepository, sha: str, paths: Iterable[str]
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
