"""`bassloop artifacts`: lists the files that a loop has kept with a run, and downloads them.

A loop is trusted with nothing: a path may not lead out of the folder, no file is overwritten, and one whose SHA-256
isn't the one that was listed is dropped.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote

from bassloop.private_files import open_private_file
from bassloop.tools.loop_client import LoopClient, LoopError
from bassloop.wire.conventions import MAX_ARTIFACTS, problem_of_path

if TYPE_CHECKING:
    from pathlib import Path

    from bassloop.tools.loop_client import RunAddress


@dataclass(frozen=True, slots=True)
class RemoteArtifact:
    """An artifact as a loop lists it."""

    path: str
    size: int
    sha256: str
    expires_at: str
    kept: bool


async def list_artifacts(loop: LoopClient, address: RunAddress) -> list[RemoteArtifact]:
    """Return a run's artifacts. Raises LoopError, also for a path that can't be one."""
    answer = await loop.get(f"{address.path}/artifacts")
    try:
        found = [
            RemoteArtifact(
                path=str(each["path"]),
                size=int(each["bytes"]),
                sha256=str(each["sha256"]),
                expires_at=str(each["expires_at"]),
                kept=bool(each["kept"]),
            )
            for each in answer["artifacts"][:MAX_ARTIFACTS]
        ]
    except (ValueError, KeyError, TypeError) as error:
        raise LoopError(f"{address.page}/artifacts does not answer as a loop does") from error
    for each in found:
        if (why := problem_of_path(each.path)) is not None:
            raise LoopError(f"{address.page} lists the artifact {each.path[:100]!r}: {why}")
    return found


async def download(
    loop: LoopClient, address: RunAddress, artifact: RemoteArtifact, folder: Path
) -> Path:
    """Download an artifact into a folder, under its path, and return where it is.

    Raises LoopError: nothing is overwritten, and no link within the folder is followed.
    """
    target = folder.joinpath(*artifact.path.split("/"))
    inner = [each for each in target.parents if each.is_relative_to(folder) and each != folder]
    if link := next((each for each in (target, *inner) if each.is_symlink()), None):
        raise LoopError(f"{link} is a symbolic link, which isn't followed")
    if target.exists():
        raise LoopError(f"{target} is there already")
    path = f"{address.path}/artifacts/{quote(artifact.path)}"
    try:
        with open_private_file(target, replace=False) as file:
            if await loop.save(path, file, artifact.size) != artifact.sha256:
                raise LoopError(f"{loop.server}{path} isn't the file that was listed (SHA-256)")
    except OSError as error:
        raise LoopError(f"{target} can't be written: {error.strerror}") from error
    return target
