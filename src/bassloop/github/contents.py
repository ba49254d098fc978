"""A repository's files at a commit, read over the contents API.

https://docs.github.com/rest/repos/contents
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from bassloop.github.errors import GitHubError, NotFound
from bassloop.github.models import Entry

if TYPE_CHECKING:
    from bassloop.github.installation import Installation

MAX_FILE = 10 << 20
MAX_PATH = 4096


async def read_file(
    installation: Installation,
    repository: str,
    path: str,
    ref: str | None,
    *,
    limit: int = MAX_FILE,
) -> bytes | None:
    """A file's bytes; None when there is none, or it is a folder.

    A symbolic link is followed inside the repository by GitHub. Raises GitHubError, also for a file
    that is longer than `limit`.

    Args:
        repository: the path of the repository in the API, ``/repos/OWNER/NAME``.
        ref: a commit, branch or tag; None is the default branch.
    """
    where = _where(repository, path, ref)
    if where is None:
        return None
    try:
        content = await installation.raw(where, limit=limit)
    except NotFound:
        return None
    return None if await _is_folder(installation, where, content) else content


async def list_folder(
    installation: Installation, repository: str, path: str, ref: str
) -> list[Entry] | None:
    """A folder's names, up to GitHub's 1,000; None when there is none, or it is a file."""
    where = _where(repository, path, ref)
    if where is None:
        return None
    try:
        found = await installation.call("GET", where)
    except NotFound:
        return None
    if not isinstance(found, list):
        return None
    return [_entry(item) for item in found]


async def _is_folder(installation: Installation, where: str, content: bytes) -> bool:
    """Whether raw bytes are a folder's listing: asked for raw, GitHub lists a folder as JSON."""
    if not content.startswith(b"["):
        return False
    # A file may begin like this too; what the plain answer is tells them apart.
    return isinstance(await installation.call("GET", where), list)


def _where(repository: str, path: str, ref: str | None) -> str | None:
    """The path in the API; None for a path that no repository has."""
    parts = path.strip("/").split("/")
    if len(path) > MAX_PATH or "\0" in path or any(part in (".", "..", ".git") for part in parts):
        return None
    at = "" if ref is None else f"?ref={quote(ref, safe='')}"
    return f"{repository}/contents/{quote('/'.join(parts))}{at}"


def _entry(item: Any) -> Entry:
    try:
        return Entry(str(item["name"]), str(item["type"]), int(item.get("size") or 0))
    except (AttributeError, TypeError, KeyError, ValueError) as error:
        raise GitHubError("GitHub's answer is no folder") from error
