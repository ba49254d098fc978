"""Trees of files: copied, emptied, removed, packed. Nothing here follows a symbolic link.

All of it runs in worker threads, a tree a thread, and stops between two files when it is cancelled.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
import tarfile
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing
from io import BytesIO
from pathlib import Path, PurePosixPath

import trio

MAX_ENTRIES = 500_000
CHUNK = 256 * 1024
EPOCH = 499_162_500
"""The time that all files of an output have, so that equal outputs are equal: the reference's."""

PathFilter = Callable[[str], bool]


def walk(root: Path) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """Everything in a folder, by its path in it, in order; folders before what is in them."""
    waiting = [("", root)]
    count = 0
    while waiting:
        prefix, folder = waiting.pop()
        with os.scandir(folder) as found:
            entries = sorted(found, key=lambda entry: entry.name)
        below = []
        for entry in entries:
            count += 1
            if count > MAX_ENTRIES:
                raise OSError(errno.E2BIG, f"more than {MAX_ENTRIES:,} files", str(root))
            yield f"{prefix}{entry.name}", entry
            if entry.is_dir(follow_symlinks=False):
                below.append((f"{prefix}{entry.name}/", Path(entry.path)))
        waiting += reversed(below)


async def copy(source: Path, target: Path, wanted: PathFilter | None = None) -> None:
    """Copy a file, or a folder with what is wanted of it. Links stay links; sockets and such are left out.

    Nothing may be at `target` but an empty folder. Raises OSError.
    """

    def work() -> None:
        if source.is_symlink() or not source.is_dir():
            _copy_one(source, target)
            return
        target.mkdir(exist_ok=True)
        made: set[str] = set()
        for name, entry in walk(source):
            trio.from_thread.check_cancelled()
            is_dir = entry.is_dir(follow_symlinks=False)
            if wanted is not None and not wanted(name):
                continue
            _make_parents(source, target, name, made)
            if is_dir:
                _make_folder(source, target, name, made)
            else:
                _copy_one(Path(entry.path), target / name)

    await trio.to_thread.run_sync(work)


def _make_parents(source: Path, target: Path, name: str, made: set[str]) -> None:
    for parent in reversed(PurePosixPath(name).parents[:-1]):
        _make_folder(source, target, str(parent), made)


def _make_folder(source: Path, target: Path, name: str, made: set[str]) -> None:
    if name not in made:
        made.add(name)
        (target / name).mkdir()
        (target / name).chmod(stat.S_IMODE((source / name).stat().st_mode) & 0o777 | 0o700)


def _copy_one(source: Path, target: Path) -> None:
    found = source.lstat()
    if stat.S_ISLNK(found.st_mode):
        target.symlink_to(source.readlink())
    elif stat.S_ISREG(found.st_mode):
        shutil.copyfile(source, target, follow_symlinks=False)
        target.chmod(stat.S_IMODE(found.st_mode) & 0o777)


async def settle(root: Path) -> None:
    """Give all files of an output the same time, and make sure that it can be read and removed."""

    def work() -> None:
        _repair(root)
        for _, entry in walk(root):
            trio.from_thread.check_cancelled()
            if entry.is_dir(follow_symlinks=False):
                _repair(Path(entry.path))
            elif not entry.is_symlink():
                mode = entry.stat(follow_symlinks=False).st_mode
                if not stat.S_ISREG(mode):
                    Path(entry.path).unlink()
                    continue
                if not mode & stat.S_IRUSR:
                    Path(entry.path).chmod(stat.S_IMODE(mode) | stat.S_IRUSR)
            os.utime(entry.path, (EPOCH, EPOCH), follow_symlinks=False)

    await trio.to_thread.run_sync(work)


def _repair(folder: Path) -> None:
    mode = stat.S_IMODE(folder.lstat().st_mode)
    if mode & 0o700 != 0o700:
        folder.chmod(mode | 0o700)


def size(root: Path) -> int:
    """Bytes that a file, or a folder with all in it, takes on the disk. What goes meanwhile is not counted."""
    total, waiting = 0, [root]
    while waiting:
        path = waiting.pop()
        try:
            found = path.lstat()
            total += found.st_blocks * 512
            if stat.S_ISDIR(found.st_mode):
                waiting += path.iterdir()
        except OSError:
            continue
    return total


async def remove(path: Path) -> None:
    """Remove a file, or a folder with all that is in it, whatever its permissions."""
    await trio.to_thread.run_sync(remove_now, path)


def remove_now(path: Path) -> None:
    """The same, at once. Raises OSError when something can't be removed."""
    if path.is_symlink() or not path.is_dir():
        path.unlink(missing_ok=True)
        return
    try:
        shutil.rmtree(path)
    except PermissionError:
        folders = [path]
        while folders:
            folder = folders.pop()
            _repair(folder)
            with os.scandir(folder) as found:
                folders += [Path(each.path) for each in found if each.is_dir(follow_symlinks=False)]
        shutil.rmtree(path)


def follow(root: Path, path: str) -> Path:
    """A path in a folder, if none of its folders is a symbolic link. Raises OSError otherwise.

    What is at the path itself may be anything, or nothing.
    """
    place = root
    parts = PurePosixPath(path).parts
    for part in parts[:-1]:
        place /= part
        if place.is_symlink():
            raise OSError(errno.ELOOP, "a folder on the way is a symbolic link", path)
    return place / parts[-1] if parts else place


def resolved(root: Path, path: str) -> Path:
    """A path in a folder with its links followed, as long as they stay in there. Raises OSError."""
    place = root / path
    if not os.path.lexists(place):
        raise OSError(errno.ENOENT, "there is no such file", path)
    real = Path(os.path.realpath(place))
    if not real.is_relative_to(os.path.realpath(root)):
        raise OSError(errno.EXDEV, "a symbolic link leads out of the output", path)
    if not real.exists():
        raise OSError(errno.ENOENT, "a symbolic link leads nowhere", path)
    return real


async def read(path: Path) -> AsyncGenerator[bytes]:
    """A file's bytes, in pieces."""
    async with await trio.open_file(path, "rb") as file:
        while chunk := await file.read(CHUNK):
            yield chunk


async def tar(source: Path, name: str, wanted: PathFilter | None = None) -> AsyncGenerator[bytes]:
    """A tar stream: of a file under the name that is given, or of what is wanted of a folder.

    Owners are left out and times are all the same, so that equal files make equal streams.
    """

    def members() -> list[tuple[str, Path]]:
        if not source.is_dir():
            return [(name, source)]
        return [
            (each, Path(entry.path))
            for each, entry in walk(source)
            if wanted is None or wanted(each)
        ]

    for each, path in await trio.to_thread.run_sync(members):
        info = _member(path, each)
        if info is None:
            continue
        yield info.tobuf(tarfile.PAX_FORMAT)
        if info.isreg():
            async with aclosing(read(path)) as chunks:
                async for chunk in chunks:
                    yield chunk
            yield b"\0" * (-info.size % tarfile.BLOCKSIZE)
    yield b"\0" * (2 * tarfile.BLOCKSIZE)


def _member(path: Path, name: str) -> tarfile.TarInfo | None:
    with tarfile.open(fileobj=BytesIO(), mode="w") as empty:
        info = empty.gettarinfo(str(path), arcname=name)
    if info.islnk():
        info.type, info.linkname = tarfile.REGTYPE, ""
        info.size = path.lstat().st_size
    if not (info.isreg() or info.isdir() or info.issym()):
        return None
    if info.name != name.rstrip("/"):
        info.name = name
    info.uid = info.gid = 0
    info.uname = info.gname = ""
    info.mtime = EPOCH
    return info
