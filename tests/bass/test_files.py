"""Files in memory, and files of the host that are kept once they were read."""

from __future__ import annotations

from contextlib import aclosing, asynccontextmanager
from typing import TYPE_CHECKING

import pytest
import trio

from bassloop import bass
from bassloop.bass.equality import equal
from bassloop.bass.errors import BassError
from bassloop.bass.filesystem import (
    MAX_CACHED,
    CachedFiles,
    DirEntry,
    FSPath,
    MemoryFiles,
    NotRead,
    memory_file,
    repository_dir,
)
from bassloop.bass.path import DirPath, FilePath
from bassloop.bass.printer import show
from bassloop.bass.thunk import Thunk
from bassloop.bass.wire.digest import thunk_digest
from bassloop.bass.wire.encode import encode_thunk, read_files

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Sequence


class Repository:
    """A host's files, which notes what it is asked for."""

    name = "repository"

    def __init__(self, files: dict[str, bytes]) -> None:
        self.files = MemoryFiles(files)
        self.asked: list[str] = []

    async def read_file(self, path: str) -> bytes:
        self.asked.append(path)
        return self.files.read_now(path)

    async def list_dir(self, path: str) -> Sequence[DirEntry]:
        self.asked.append(f"{path}/")
        return self.files.list_now(path)


def test_a_directory_in_memory_lists_its_members_by_name() -> None:
    files = MemoryFiles({"b": b"1", "a/y": b"2", "a/x/z": b"3"})
    assert files.list_now("") == [DirEntry("a", True), DirEntry("b", False)]
    assert files.list_now("a") == [DirEntry("x", True), DirEntry("y", False)]
    assert files.read_now("a/x/z") == b"3"


@pytest.mark.parametrize(("path", "why"), [("c", "no file"), ("a", "it is a directory")])
def test_a_missing_file_is_named(path: str, why: str) -> None:
    with pytest.raises(BassError, match=why):
        MemoryFiles({"a/b": b""}).read_now(path)


def test_a_file_cannot_contain_files() -> None:
    with pytest.raises(BassError, match="one or the other"):
        MemoryFiles({"a": b"", "a/b": b""})
    with pytest.raises(BassError, match="one or the other"):
        MemoryFiles({"a/b": b"", "a": b""})


async def test_each_file_is_requested_from_the_host_once() -> None:
    repository = Repository({"a/b": b"1", "a/c": b"2", "d": b"3"})
    path = repository_dir(repository).extend(DirPath("a"))
    assert isinstance(path, FSPath)
    await path.read_all()
    await path.read_all()
    assert repository.asked == ["a/", "a/b", "a/c"]
    assert [entry.name for entry in path.list_now()] == ["b", "c"]


async def test_a_thunk_with_files_of_the_host_has_a_name_once_they_have_been_read() -> None:
    repository = Repository({"a/b": b"1"})
    thunk = Thunk(args=("x",)).with_mount(repository_dir(repository), DirPath("m"))
    with pytest.raises(NotRead, match="not been read"):
        encode_thunk(thunk)
    assert show(thunk) == "{{thunk (error: <repository>/ has not been read yet): x}}"
    await read_files(thunk)
    memory = Thunk(args=("x",)).with_mount(FSPath(MemoryFiles({"a/b": b"1"})), DirPath("m"))
    assert thunk_digest(thunk) == thunk_digest(memory)


async def test_unread_files_of_the_host_are_equal_if_they_have_the_same_path() -> None:
    directory = repository_dir(Repository({}))
    left = Thunk(args=("x",)).with_mount(directory, DirPath("m"))
    assert equal(left, Thunk(args=("x",)).with_mount(directory, DirPath("m")))
    other = Thunk(args=("x",)).with_mount(directory.extend(DirPath("a")), DirPath("m"))
    assert not equal(left, other)


async def test_a_path_out_of_the_repository_is_refused() -> None:
    path = repository_dir(Repository({"a": b""})).extend(FilePath("../a"))
    assert isinstance(path, FSPath)
    with pytest.raises(BassError, match="leads out"):
        await path.read()


async def test_cached_files_are_limited() -> None:
    kept = CachedFiles(
        Repository({"a": bytes(MAX_CACHED // 2), "b": bytes(MAX_CACHED // 2), "c": b"1"})
    )
    await kept.read_file("a")
    await kept.read_file("b")
    with pytest.raises(BassError, match="narrow it down"):
        await kept.read_file("c")


async def test_a_file_that_two_tasks_read_at_once_counts_once() -> None:
    class Slow(Repository):
        async def read_file(self, path: str) -> bytes:
            await trio.lowlevel.checkpoint()
            return await super().read_file(path)

    kept = CachedFiles(Slow({"a": bytes(MAX_CACHED // 2 + 1)}))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(kept.read_file, "a")
        nursery.start_soon(kept.read_file, "a")
    assert kept.read_now("a") == await kept.read_file("a")


async def test_an_image_that_is_too_large_is_not_read_to_its_end() -> None:
    sent = 0

    class Endless(bass.Host):
        @asynccontextmanager
        async def export(self, thunk: Thunk) -> AsyncGenerator[AsyncIterator[bytes]]:
            async def pieces() -> AsyncGenerator[bytes]:
                nonlocal sent
                while sent < 4 * MAX_CACHED:
                    sent += 1 << 20
                    yield bytes(1 << 20)

            async with aclosing(pieces()) as stream:
                yield stream

    image = '(from {:repository "a" :platform {:os "linux"}} ($ a))'
    async with bass.open_session(Endless()) as session:
        with pytest.raises(BassError, match="too much"):
            await session.evaluate(f"(next (read (export {image}) :raw))", "script", None)
    assert sent <= MAX_CACHED + (1 << 20)


async def test_a_host_that_lists_impossible_names_is_refused() -> None:
    class Odd(Repository):
        async def list_dir(self, path: str) -> Sequence[DirEntry]:
            return [DirEntry("../up", False)]

    with pytest.raises(BassError, match="impossible name"):
        await CachedFiles(Odd({})).list_dir("")


def test_a_single_file_in_memory_can_be_read_immediately() -> None:
    assert memory_file("program", b"1").read_now() == b"1"
