"""Copy, measure, remove and pack trees of files, while the disk has room. Nothing here follows a symbolic link.

The work is done in worker threads. If cancelled, operations on whole trees stop between two files.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
import tarfile
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing, suppress
from io import BytesIO
from pathlib import Path, PurePosixPath

import trio

from bassloop.runner.errors import DriverError

MAX_ENTRIES = 500_000
CHUNK = 256 * 1024
KEEP_FREE = 1 << 30
KEEP_FREE_FILES = 200_000
KEEP_FREE_PART = 20
EPOCH = 499_162_500
"""The modification time for all files of an output, which is the reference's, so that equal outputs have equal
bytes."""

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
"""The flags to open a folder with."""
_PLACE: int | None = getattr(os, "O_PATH", None)
"""The flag to open it without reading it, which Linux has."""

SPECIAL = stat.S_ISUID | stat.S_ISGID

Wanted = Callable[[str], bool]


def walk(root: Path) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """Generate everything in a folder with its relative path, in order; folders before their content."""
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


async def copy(source: Path, target: Path, wanted: Wanted | None = None) -> None:
    """Copy a file, or the selected files of a folder. Links stay links; sockets and devices are left out.

    `target` must be missing or an empty folder. Raises OSError.
    """

    def copy_now() -> None:
        if source.is_symlink() or not source.is_dir():
            _copy_file(source, target)
            return
        target.mkdir(exist_ok=True)
        made: set[str] = set()
        for name, entry in walk(source):
            trio.from_thread.check_cancelled()
            is_dir = entry.is_dir(follow_symlinks=False)
            if wanted is not None and not wanted(name):
                continue
            for parent in reversed(PurePosixPath(name).parents[:-1]):
                _copy_folder(source, target, str(parent), made)
            if is_dir:
                _copy_folder(source, target, name, made)
            else:
                _copy_file(Path(entry.path), target / name)

    await trio.to_thread.run_sync(copy_now)


def _copy_folder(source: Path, target: Path, name: str, made: set[str]) -> None:
    if name not in made:
        made.add(name)
        (target / name).mkdir()
        (target / name).chmod(stat.S_IMODE((source / name).stat().st_mode) & 0o777 | 0o700)


def _copy_file(source: Path, target: Path) -> None:
    found = source.lstat()
    if not (stat.S_ISLNK(found.st_mode) or stat.S_ISREG(found.st_mode)):
        return
    if (shortage := disk_shortage(target.parent)) is not None:
        raise OSError(errno.ENOSPC, f"the disk {shortage}", str(target))
    if stat.S_ISLNK(found.st_mode):
        target.symlink_to(source.readlink())
    else:
        if found.st_blocks * 512 < found.st_size:
            _copy_data(source, target)
        else:
            shutil.copyfile(source, target, follow_symlinks=False)
        target.chmod(stat.S_IMODE(found.st_mode) & 0o777)


def _copy_data(source: Path, target: Path) -> None:
    """Copy a sparse file with its holes, since a command can create one of any size in no time."""
    with source.open("rb", buffering=0) as old, target.open("xb", buffering=0) as new:
        size = os.fstat(old.fileno()).st_size
        new.truncate(size)
        at = 0
        while at < size:
            try:
                start = os.lseek(old.fileno(), at, os.SEEK_DATA)
            except OSError as error:
                if error.errno == errno.ENXIO:  # only a hole is left
                    break
                raise
            at = os.lseek(old.fileno(), start, os.SEEK_HOLE)
            old.seek(start)
            new.seek(start)
            while start < at and (data := old.read(min(CHUNK, at - start))):
                new.write(data)
                start += len(data)


async def settle(root: Path) -> None:
    """Set the same time on all files of an output, and make them readable and removable.

    No file stays setuid or setgid: whoever unpacks an output may be another user, such as root.
    """

    def settle_now() -> None:
        _make_accessible(root)
        for _, entry in walk(root):
            trio.from_thread.check_cancelled()
            if entry.is_dir(follow_symlinks=False):
                _make_accessible(Path(entry.path))
            elif not entry.is_symlink():
                mode = entry.stat(follow_symlinks=False).st_mode
                if not stat.S_ISREG(mode):
                    Path(entry.path).unlink()
                    continue
                if not mode & stat.S_IRUSR or mode & SPECIAL:
                    Path(entry.path).chmod(stat.S_IMODE(mode) & ~SPECIAL | stat.S_IRUSR)
            os.utime(entry.path, (EPOCH, EPOCH), follow_symlinks=False)

    await trio.to_thread.run_sync(settle_now)


def _make_accessible(folder: Path) -> None:
    mode = stat.S_IMODE(folder.lstat().st_mode)
    if mode & 0o700 != 0o700 or mode & SPECIAL:
        folder.chmod(mode & ~SPECIAL | 0o700)


def size(root: Path) -> int:
    """Return the bytes on disk of a file, or of a folder with its content. Skips files that vanish meanwhile.

    Neither permissions nor depth hide anything: a command could otherwise fill the disk with a cache that is never
    removed, because it seems to be small.
    """
    try:
        found = root.lstat()
        if not stat.S_ISDIR(found.st_mode):
            return found.st_blocks * 512
        folder = _open_readable(str(root))
    except OSError:
        return 0
    total, names = _measure(folder)
    total += found.st_blocks * 512
    waiting, inodes = [names], [found.st_ino]
    try:
        while waiting:
            if waiting[-1]:
                with suppress(OSError):
                    inner = _open_readable(waiting[-1].pop(), folder)
                    os.close(folder)
                    folder = inner
                    inodes.append(os.fstat(folder).st_ino)
                    more, names = _measure(folder)
                    total += more
                    waiting.append(names)
                continue
            waiting.pop()
            inodes.pop()
            if waiting:
                outer = os.open("..", _FOLDER, dir_fd=folder)
                os.close(folder)
                folder = outer
                if os.fstat(folder).st_ino != inodes[-1]:
                    break  # a command that still runs has moved it
    except OSError:
        pass
    finally:
        os.close(folder)
    return total


def _measure(folder: int) -> tuple[int, list[str]]:
    """Return the bytes on disk of what is in an open folder, without what is deeper, and the names of its folders."""
    total, folders = 0, list[str]()
    with suppress(OSError), os.scandir(folder) as found:
        for entry in found:
            with suppress(OSError):
                total += entry.stat(follow_symlinks=False).st_blocks * 512
                if entry.is_dir(follow_symlinks=False):
                    folders.append(entry.name)
    return total, folders


def _open_readable(name: str, within: int | None = None) -> int:
    """Open a folder, which is made readable for its owner where that is possible. Raises OSError."""
    if _PLACE is None:
        return os.open(name, _FOLDER, dir_fd=within)
    # Its mode is changed through a descriptor, since a command may replace it with a link at any time.
    place = os.open(name, _PLACE | _FOLDER, dir_fd=within)
    try:
        mode = stat.S_IMODE(os.fstat(place).st_mode)
        if mode & 0o500 != 0o500:
            os.chmod(f"/proc/self/fd/{place}", mode | 0o500)
        return os.open(".", _FOLDER, dir_fd=place)
    finally:
        os.close(place)


async def remove(path: Path) -> None:
    """Remove a file, or a folder with its content, regardless of permissions. Raises OSError."""
    await trio.to_thread.run_sync(remove_now, path)


def remove_now(path: Path) -> None:
    """Do the same in this thread."""
    if path.is_symlink() or not path.is_dir():
        path.unlink(missing_ok=True)
        return
    try:
        shutil.rmtree(path)
    except (PermissionError, RecursionError):
        _remove_folder(path)


def _remove_folder(path: Path) -> None:
    """Remove a folder, regardless of permissions, and of depth: a command may have nested more than a path can name."""
    _make_accessible(path)
    folder = os.open(path, _FOLDER)
    try:
        names: list[str] = []
        waiting = [_empty(folder)]
        while True:
            if waiting[-1]:
                names.append(waiting[-1].pop())
                os.chmod(names[-1], 0o700, dir_fd=folder)
                inner = os.open(names[-1], _FOLDER, dir_fd=folder)
                os.close(folder)
                folder = inner
                waiting.append(_empty(folder))
                continue
            waiting.pop()
            if not names:
                break
            outer = os.open("..", _FOLDER, dir_fd=folder)
            os.close(folder)
            folder = outer
            os.rmdir(names.pop(), dir_fd=folder)
    finally:
        os.close(folder)
    path.rmdir()


def _empty(folder: int) -> list[str]:
    """Remove the files of an open folder, and return the names of those that are in it."""
    with os.scandir(folder) as found:
        entries = list(found)
    folders = []
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            folders.append(entry.name)
        else:
            os.unlink(entry.name, dir_fd=folder)
    return folders


def follow(root: Path, path: str) -> Path:
    """Resolve a path in a folder. Raises OSError if a folder on the way is a symbolic link.

    The path itself may be anything, or missing.
    """
    place = root
    parts = PurePosixPath(path).parts
    for part in parts[:-1]:
        place /= part
        if place.is_symlink():
            raise OSError(errno.ELOOP, "a folder on the way is a symbolic link", path)
    return place / parts[-1] if parts else place


def resolved(root: Path, path: str) -> Path:
    """Resolve a path in a folder, following links. Raises OSError if one leads out."""
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
    """Generate a file's bytes in chunks."""
    async with await trio.open_file(path, "rb") as file:
        while chunk := await file.read(CHUNK):
            yield chunk


async def tar(source: Path, name: str, wanted: Wanted | None = None) -> AsyncGenerator[bytes]:
    """Generate a tar stream of a file, under a given name, or of the selected files of a folder.

    Owners, setuid and setgid bits are left out, and all times are the same, so that equal files make equal streams.
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
    """Return a member's header, or None for something other than a file, folder or link."""
    with tarfile.open(fileobj=BytesIO(), mode="w") as empty:
        info = empty.gettarinfo(str(path), arcname=name)
    if info.islnk():
        info.type, info.linkname = tarfile.REGTYPE, ""
        info.size = path.lstat().st_size
    if not (info.isreg() or info.isdir() or info.issym()):
        return None
    if info.name != name.rstrip("/"):
        info.name = name
    info.mode &= ~SPECIAL
    info.uid = info.gid = 0
    info.uname = info.gname = ""
    info.mtime = EPOCH
    return info


# --- the disk ----------------------------------------------------------------------------------------


def disk_shortage(folder: Path) -> str | None:
    """Return how a folder's disk is nearly full, as the end of a sentence about it, or None if it isn't.

    Commands must leave 1 GiB of space and 200,000 files, or a twentieth of either if that is less. An empty file takes
    no space, but file systems such as ext4 have room for a fixed number of files. Others report that they have none.
    """
    disk = os.statvfs(folder)
    size = disk.f_blocks * disk.f_frsize
    if disk.f_bavail * disk.f_frsize < min(KEEP_FREE, size // KEEP_FREE_PART):
        return "is nearly full"
    if disk.f_favail < min(KEEP_FREE_FILES, disk.f_files // KEEP_FREE_PART):
        return "is nearly full: it has space, but no room for more files (inodes)"
    return None


def check_disk(folder: Path) -> None:
    """Raise DriverError if a folder's disk is nearly full."""
    if (shortage := disk_shortage(folder)) is not None:
        raise DriverError(f"on the runner's machine, the disk of {folder} {shortage}")
