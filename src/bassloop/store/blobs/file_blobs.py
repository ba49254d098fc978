"""Blobs in a folder: each is a file."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from typing import TYPE_CHECKING

from bassloop.store.blobs.blobs import BlobInfo

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from types import TracebackType
    from typing import Self


class FileReader:
    """A file that is open for reading."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    @property
    def size(self) -> int:
        return os.fstat(self._descriptor).st_size

    def read(self, offset: int, size: int) -> bytes:
        return os.pread(self._descriptor, size, offset)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        os.close(self._descriptor)


class FileBlobs:
    """A folder of blobs, which is made when something is stored."""

    bucket = None

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __str__(self) -> str:
        return str(self.folder)

    def open(self, name: str) -> FileReader:
        return FileReader(self.folder / name)

    def move_in(self, path: Path, name: str) -> None:
        to = self.folder / name
        to.parent.mkdir(parents=True, exist_ok=True)
        with path.open("rb") as file:
            os.fsync(file.fileno())
        path.replace(to)

    def list(self, prefix: str) -> Iterator[BlobInfo]:
        folders = [self.folder / prefix]
        while folders:
            for entry in _entries(folders.pop()):
                if entry.is_dir(follow_symlinks=False):
                    folders.append(self.folder / entry.path)
                    continue
                # One that is gone by now was removed, or written when the disk was full.
                with contextlib.suppress(FileNotFoundError):
                    stat = entry.stat(follow_symlinks=False)
                    name = os.path.relpath(entry.path, self.folder)
                    yield BlobInfo(name, stat.st_size, stat.st_mtime)

    def sizes(self, prefix: str) -> dict[str, int]:
        return {
            entry.name: sum(each.size for each in self.list(f"{prefix}/{entry.name}"))
            for entry in _entries(self.folder / prefix)
            if entry.is_dir(follow_symlinks=False)
        }

    def remove(self, prefix: str) -> None:
        path = self.folder / prefix
        with contextlib.suppress(FileNotFoundError):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
                with contextlib.suppress(OSError):  # others are in it
                    path.parent.rmdir()

    def probe(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=self.folder) as file:
            file.write(b"\n")


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except FileNotFoundError:
        return []
