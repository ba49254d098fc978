"""Files of hooks: read once, and at another commit only if it has changed them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

import pytest

from bassloop.checks.hook_files import HookFiles
from bassloop.github import GitHubError

if TYPE_CHECKING:
    from bassloop.github import RepositoryClient

PATHS = ("a", "b")


@dataclass
class Commits:
    """A repository whose commits are given as the blobs at their top; `asked` is what it was asked for."""

    tops: dict[str, dict[str, str] | None]
    asked: list[str] = field(default_factory=list)
    fails: bool = False

    async def top_level(self, sha: str) -> dict[str, str] | None:
        self.asked.append(sha)
        if self.fails:
            raise GitHubError("away", 503)
        return self.tops[sha]

    async def file(self, path: str, sha: str) -> bytes | None:
        self.asked.append(f"{sha}:{path}")
        return f"{path} of {sha}".encode()


async def read(files: HookFiles, commits: Commits, sha: str) -> Any:
    return await files.read_all(1, cast("RepositoryClient", commits), sha, PATHS)


async def test_files_that_a_commit_has_not_changed_are_not_read_again() -> None:
    files, commits = HookFiles(), Commits({"1": {"a": "A"}, "2": {"a": "A", "c": "C"}})
    for sha in ("1", "2", "1"):
        assert await read(files, commits, sha) == {"a": b"a of 1", "b": None}
    assert commits.asked == ["1", "1:a", "2"]


async def test_files_that_a_commit_has_changed_or_added_are_read() -> None:
    files, commits = HookFiles(), Commits({"1": {"a": "A"}, "2": {"a": "other", "b": "B"}})
    await read(files, commits, "1")
    assert await read(files, commits, "2") == {"a": b"a of 2", "b": b"b of 2"}


@pytest.mark.parametrize("top", [None, {"a": "", "b": ""}], ids=["not listed", "links"])
async def test_entries_that_are_not_plain_files_are_read_at_each_commit(
    top: dict[str, str] | None,
) -> None:
    files, commits = HookFiles(), Commits({"1": top, "2": top})
    for sha in ("1", "2"):
        assert await read(files, commits, sha) == {
            "a": f"a of {sha}".encode(),
            "b": f"b of {sha}".encode(),
        }


async def test_a_list_that_can_not_be_fetched_is_an_error_and_is_requested_again() -> None:
    files, commits = HookFiles(), Commits({"1": {"a": "A"}}, fails=True)
    with pytest.raises(GitHubError):
        await read(files, commits, "1")
    commits.fails = False
    assert await read(files, commits, "1") == {"a": b"a of 1", "b": None}
