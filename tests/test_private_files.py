"""Files for their owner alone, with any umask."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

import pytest

from bassloop.private_files import (
    ExposedFileError,
    make_private_folder,
    read_private_file,
    write_private_file,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(params=[0o000, 0o022, 0o777])
def umask(request: pytest.FixtureRequest) -> Iterator[None]:
    """Run the test with each umask: one that takes nothing away, a usual one, one that takes all."""
    before = os.umask(request.param)
    try:
        yield
    finally:
        os.umask(before)


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.usefixtures("umask")
def test_a_file_and_all_folders_that_are_made_for_it_are_private(tmp_path: Path) -> None:
    path = tmp_path / "one" / "two" / "file"
    write_private_file(path, b"text")
    assert read_private_file(path, own=True) == b"text"
    assert mode_of(path) == 0o600
    assert mode_of(path.parent) == mode_of(path.parent.parent) == 0o700


@pytest.mark.usefixtures("umask")
def test_a_file_is_replaced_as_a_whole_and_nothing_else_remains(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.touch()
    path.chmod(0o644)
    write_private_file(path, b"new")
    assert path.read_bytes() == b"new"
    assert mode_of(path) == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_without_replace_an_existing_file_stays(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_private_file(path, b"first", replace=False)
    with pytest.raises(FileExistsError):
        write_private_file(path, b"second", replace=False)
    assert path.read_bytes() == b"first"
    assert list(tmp_path.iterdir()) == [path]


def test_an_existing_folder_keeps_its_mode(tmp_path: Path) -> None:
    folder = tmp_path / "shared"
    folder.mkdir()
    folder.chmod(0o755)
    make_private_folder(folder / "own")
    assert mode_of(folder) == 0o755
    assert mode_of(folder / "own") == 0o700


def test_a_file_in_the_place_of_a_folder_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        make_private_folder(tmp_path / "file" / "folder")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620])
def test_a_file_that_others_may_use_is_not_read(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "file"
    write_private_file(path, b"text")
    path.chmod(mode)
    with pytest.raises(ExposedFileError, match=f"mode {mode:04o}"):
        read_private_file(path)


def test_a_file_of_another_user_is_refused_if_it_has_to_be_the_callers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    write_private_file(path, b"text")
    monkeypatch.setattr(os, "getuid", lambda: path.stat().st_uid + 1)
    assert read_private_file(path) == b"text"
    with pytest.raises(ExposedFileError):
        read_private_file(path, own=True)
