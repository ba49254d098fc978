"""What a command is given, put where it finds it; and what it leaves, as a tar stream."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING

import trio

from bassloop.runner import file_trees
from bassloop.runner.engine import globs, layout

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

    from bassloop.runner.cache.outputs import ThunkOutput
    from bassloop.wire import bass_pb2 as pb


def wanted_of(path: pb.FilesystemPath) -> globs.PathFilter | None:
    """Which files of a path are meant; None when all are. Raises DriverError."""
    if layout.is_directory(path):
        return globs.patterns(path.dir.include, path.dir.exclude)
    return None


async def copy_inside(root: Path, path: pb.FilesystemPath, place: Path) -> None:
    """Copy a path in a folder; its links are followed as long as they stay in there."""
    within = layout.inside(layout.filesystem(path), "the path")
    await file_trees.copy(file_trees.resolved(root, within), place, wanted_of(path))


async def write_logical(logical: pb.LogicalPath, place: Path) -> None:
    """Write files that travel with the message."""

    def work() -> None:
        if logical.WhichOneof("path") == "file":
            place.write_bytes(logical.file.content)
            return
        place.mkdir(exist_ok=True)
        for path, content in layout.logical_files(logical):
            if content is None:
                (place / path).mkdir()
            else:
                (place / path).write_bytes(content)

    await trio.to_thread.run_sync(work)


async def exported(output: ThunkOutput, path: pb.FilesystemPath) -> AsyncGenerator[bytes]:
    """A tar stream of a path in an output. Raises OSError when it is not there, or leads out of it."""
    within = layout.inside(layout.filesystem(path), "the path")
    source = await trio.to_thread.run_sync(file_trees.resolved, output.files, within)
    name = layout.written(within, directory=False)
    async with aclosing(file_trees.tar(source, name, wanted_of(path))) as chunks:
        async for chunk in chunks:
            yield chunk
