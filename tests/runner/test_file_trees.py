"""Trees of files that a command has made to harm programs that read them."""

from __future__ import annotations

import os
import shutil
import stat
import tarfile
from io import BytesIO
from typing import TYPE_CHECKING

import pytest
import trio

from bassloop.runner import file_trees
from bassloop.runner.engine import path_rules
from bassloop.runner.engine.graph import describe_os_error

if TYPE_CHECKING:
    from pathlib import Path

DEEP = 1_100
"""Folders in one another: more than Python recurses, and than a path can name."""


def make_deep(root: Path) -> None:
    root.mkdir()
    folder = os.open(root, os.O_RDONLY)
    for _ in range(DEEP):
        os.mkdir("folder-in-a-folder", dir_fd=folder)
        inner = os.open("folder-in-a-folder", os.O_RDONLY, dir_fd=folder)
        file = os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=inner)
        os.write(file, b"some bytes")
        os.close(file)
        os.close(folder)
        folder = inner
    os.close(folder)


async def test_folders_deeper_than_a_path_are_refused_and_removed(tmp_path: Path) -> None:
    make_deep(tmp_path / "output")
    (tmp_path / "target").mkdir()
    for attempt in (
        file_trees.settle(tmp_path / "output"),
        file_trees.copy(tmp_path / "output", tmp_path / "target"),
    ):
        with pytest.raises(OSError, match="File name too long"):
            await attempt
    for name in ("output", "target"):
        await file_trees.remove(tmp_path / name)
    assert list(tmp_path.iterdir()) == []


async def test_the_size_of_a_tree_is_measured_whatever_its_depth_and_permissions(
    tmp_path: Path,
) -> None:
    make_deep(tmp_path / "deep")
    assert file_trees.size(tmp_path / "deep") >= DEEP * 512
    await file_trees.remove(tmp_path / "deep")
    locked = tmp_path / "cache" / "locked"
    locked.mkdir(parents=True)
    (locked / "file").write_bytes(b"x" * 100_000)
    locked.chmod(0)
    assert file_trees.size(tmp_path / "cache") >= 100_000


async def test_measuring_follows_no_link(tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir(mode=0o300)
    (tmp_path / "kept" / "file").write_bytes(b"x" * 1_000_000)
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "link").symlink_to(tmp_path / "kept")
    assert file_trees.size(tmp_path / "cache") < 100_000
    assert stat.S_IMODE((tmp_path / "kept").stat().st_mode) == 0o300


async def test_outputs_are_neither_setuid_nor_setgid(tmp_path: Path) -> None:
    """Root, who unpacks a stranger's output, would have a program that runs as root."""
    output = tmp_path / "output"
    for name in ("settled", "sent"):
        program = output / name / "program"
        program.parent.mkdir(parents=True)
        program.touch()
        program.chmod(0o6755)
        program.parent.chmod(0o2755)
    await file_trees.settle(output / "settled")
    for path in (output / "settled", output / "settled" / "program"):
        assert path.stat().st_mode & 0o7777 == 0o755
    sent = b"".join([chunk async for chunk in file_trees.tar(output / "sent", "sent")])
    with tarfile.open(fileobj=BytesIO(sent)) as archive:
        assert {member.mode for member in archive} == {0o755}


async def test_folders_that_nobody_may_enter_are_removed_and_links_are_not_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(shutil, "rmtree", refuse)  # root may always, and the tests may run as root
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "file").touch()
    output = tmp_path / "output"
    for name in ("a/b/c", "a/d", "e"):
        (output / name).mkdir(parents=True)
        (output / name / "file").touch()
    (output / "a" / "link").symlink_to(kept)
    os.mkfifo(output / "a" / "pipe")
    for name in ("a/b/c", "a/b", "a", "."):
        (output / name).chmod(0)
    await file_trees.remove(output)
    assert list(tmp_path.iterdir()) == [kept]
    assert (kept / "file").exists()


async def test_sparse_files_stay_sparse(tmp_path: Path) -> None:
    source = tmp_path / "holes"
    with source.open("wb") as file:
        file.truncate(3 << 30)
        file.seek(1 << 30)
        file.write(b"in the middle")
    await file_trees.copy(source, tmp_path / "copy")
    with (tmp_path / "copy").open("rb") as file:
        assert file.read(10) == bytes(10)
        file.seek(1 << 30)
        assert file.read(15) == b"in the middle\0\0"
    facts = (tmp_path / "copy").stat()
    assert facts.st_size == 3 << 30
    assert facts.st_blocks * 512 < 1 << 20


async def test_nothing_is_copied_onto_a_disk_that_is_nearly_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "source").write_bytes(b"x")
    monkeypatch.setattr(file_trees, "KEEP_FREE", shutil.disk_usage(tmp_path).total)
    monkeypatch.setattr(file_trees, "KEEP_FREE_PART", 1)
    with pytest.raises(OSError, match="nearly full"):
        await file_trees.copy(tmp_path / "source", tmp_path / "copy")


async def test_nothing_is_copied_onto_a_disk_with_hardly_any_inodes_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "link").symlink_to("nowhere")
    monkeypatch.setattr(file_trees, "KEEP_FREE_FILES", os.statvfs(tmp_path).f_files)
    monkeypatch.setattr(file_trees, "KEEP_FREE_PART", 1)
    with pytest.raises(OSError, match="no room for more files"):
        await file_trees.copy(tmp_path / "link", tmp_path / "copy")
    assert not (tmp_path / "copy").is_symlink()


ODD_NAMES = [b"\xff\xfe", b"a\nb", b"\x1b[31m", b"-rf", b"$(id)", b"%s", b" ", b"*"]


async def test_any_file_name_can_be_matched_copied_packed_and_reported(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for name in ODD_NAMES:
        (source / os.fsdecode(name)).write_bytes(name)
    for pattern in ("*", "**", "."):
        wanted = path_rules.pattern_filter([pattern], ())
        assert wanted is not None
        target = tmp_path / f"copy {len(pattern)} {pattern == '.'}"
        await file_trees.copy(source, target, wanted)
        assert sorted(os.listdir(os.fsencode(target))) == sorted(ODD_NAMES)
    size = 0
    with trio.fail_after(120):
        async for chunk in file_trees.tar(source, ""):
            size += len(chunk)
    assert size > len(ODD_NAMES) * 1024
    error = OSError(2, "No such file or directory", os.fsdecode(b"\xff"))
    assert describe_os_error(error) == "No such file or directory (?)"
