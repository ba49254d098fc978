"""Buckets for tests: in memory, and of a real service."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bassloop.store.blobs import BlobInfo, BucketUnreachable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@dataclass
class MemoryObject:
    data: bytes

    @property
    def size(self) -> int:
        return len(self.data)

    def read(self, offset: int, size: int) -> bytes:
        return self.data[offset : offset + size]

    def __enter__(self) -> MemoryObject:
        return self

    def __exit__(self, *_: object) -> None:
        pass


@dataclass
class MemoryBucket:
    """A bucket that can be down, and lose answers to what it stored."""

    folder: Path
    objects: dict[str, bytes] = field(default_factory=dict)
    down: bool = False
    lost_answers: int = 0
    cached_bytes: int = 0
    created: threading.Event = field(default_factory=threading.Event)
    failed: threading.Event = field(default_factory=threading.Event)

    @property
    def bucket(self) -> MemoryBucket:
        return self

    def uncached(self) -> MemoryBucket:
        return self

    def _check(self) -> None:
        if self.down:
            self.failed.set()
            raise BucketUnreachable("bucket memory: it is down")

    def open(self, name: str) -> MemoryObject:
        self._check()
        if name not in self.objects:
            raise FileNotFoundError(name)
        return MemoryObject(self.objects[name])

    def open_sequential(self, name: str) -> MemoryObject:
        return self.open(name)

    def read(self, name: str, offset: int, size: int) -> bytes:
        return self.open(name).read(offset, size)

    fetch = read

    def create(self, name: str, data: bytes) -> bool:
        self._check()
        if name in self.objects:
            return False
        self.objects[name] = data
        self.created.set()
        if self.lost_answers:
            self.lost_answers -= 1
            raise BucketUnreachable("bucket memory: the connection was lost")
        return True

    def copy_in(self, path: Path, name: str) -> None:
        self._check()
        self.objects[name] = path.read_bytes()

    def move_in(self, path: Path, name: str) -> None:
        self.copy_in(path, name)
        path.unlink()

    def list(self, prefix: str) -> Iterator[BlobInfo]:
        self._check()
        for name, data in list(self.objects.items()):
            if name.startswith(f"{prefix}/" if prefix else ""):
                yield BlobInfo(name, len(data), 0.0)

    def sizes(self, prefix: str) -> dict[str, int]:
        found: dict[str, int] = {}
        for each in self.list(prefix):
            folder = each.name.removeprefix(f"{prefix}/").split("/")[0]
            found[folder] = found.get(folder, 0) + each.size
        return found

    def remove(self, prefix: str) -> None:
        self._check()
        for name in list(self.objects):
            if name == prefix or name.startswith(f"{prefix}/"):
                del self.objects[name]

    def probe(self) -> None:
        self._check()

    def __str__(self) -> str:
        return "bucket memory"
