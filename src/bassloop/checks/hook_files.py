"""The files of hooks, read from GitHub once for each commit, however many events are about it."""

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
    """Files at commits. A commit never changes, so neither do they, nor does it when there is none."""

    _cache: TTLCache[_Key, tuple[bytes | None]] = field(
        default_factory=lambda: TTLCache(CACHE_BYTES, CACHE_SECONDS, size_of=_size), init=False
    )
    _reading: SharedCalls[_Key, bytes | None] = field(default_factory=SharedCalls, init=False)

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
        """Return several files' bytes at a commit, read at the same time. Raises GitHubError."""
        found: dict[str, bytes | None] = {}

        async def read(path: str) -> None:
            found[path] = await self.read(repository_id, repo, sha, path)

        await run_all([partial(read, path) for path in paths])
        return found
