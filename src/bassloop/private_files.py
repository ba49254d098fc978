"""Files that only their owner can read: mode 0600, in folders of mode 0700, whatever the umask.

Files are replaced atomically, so that a reader sees either the old or the new content, even after a crash. All
functions block.
"""

from __future__ import annotations

import os
import stat
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from collections.abc import Iterator


class ExposedFileError(Exception):
    """Others than the owner may read the file."""

    def __init__(self, path: Path, mode: int) -> None:
        super().__init__(f"{path} can be read by others (mode {mode:04o})")
        self.path = path
        self.mode = mode


def make_private_folder(path: Path) -> None:
    """Make a folder, and those above it that are missing, each with mode 0700. Raises OSError."""
    missing = []
    while not path.is_dir():
        missing.append(path)
        path = path.parent
    for folder in reversed(missing):
        try:
            folder.mkdir(mode=0o700)
        except FileExistsError:
            if not folder.is_dir():
                raise
        else:
            folder.chmod(0o700)  # the umask may have removed some of the owner's bits


def write_private_file(path: Path, content: bytes, *, replace: bool = True) -> None:
    """Write a file with mode 0600, and its folder if that is missing. Raises OSError.

    The content is on disk when this returns. Without `replace`, raises FileExistsError if there is a
    file already, which then stays as it is.
    """
    with open_private_file(path, replace=replace) as file:
        file.write(content)


@contextmanager
def open_private_file(path: Path, *, replace: bool = True) -> Iterator[BinaryIO]:
    """Open a file for writing in pieces; otherwise like :func:`write_private_file`.

    It replaces the old file when the block ends, and is dropped if the block raises.
    """
    make_private_folder(path.parent)
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    temporary = Path(name)
    try:
        with open(descriptor, "wb") as file:
            os.fchmod(descriptor, 0o600)
            yield file
            file.flush()
            os.fsync(descriptor)
        if replace:
            temporary.replace(path)
        else:
            path.hardlink_to(temporary)
        _sync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def read_private_file(path: Path, *, own: bool = False) -> bytes:
    """Return a file's content. Raises OSError, and ExposedFileError if others may read the file.

    Args:
        own: raise ExposedFileError also if the file belongs to another user.
    """
    with path.open("rb") as file:
        found = os.fstat(file.fileno())
        mode = stat.S_IMODE(found.st_mode)
        if mode & 0o077 or (own and found.st_uid != os.getuid()):
            raise ExposedFileError(path, mode)
        return file.read()


def _sync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
