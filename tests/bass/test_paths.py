"""Paths: names, and places they can be in."""

from __future__ import annotations

import pytest

from bassloop.bass.equality import equal
from bassloop.bass.errors import BassError
from bassloop.bass.filesystem import FSPath, MemoryFiles
from bassloop.bass.path import (
    CachePath,
    CommandPath,
    DirPath,
    FilePath,
    HostPath,
    base,
    clean,
    dirname,
    parse_file_or_dir,
)
from bassloop.bass.printer import show
from bassloop.bass.thunk import Thunk, ThunkPath


@pytest.mark.parametrize(
    ("path", "shortest"),
    [
        ("", "."), (".", "."), ("/", "/"), ("//", "/"), ("a/", "a"), ("./a", "a"), ("a//b", "a/b"), ("a/./b", "a/b"),
        ("a/../b", "b"), ("..", ".."), ("a/../..", ".."), ("../../a", "../../a"), ("/..", "/"), ("/../a", "/a"),
        ("/a/../../b", "/b"), ("a/b/../../..", ".."),
    ],
)  # fmt: skip
def test_a_cleaned_path_is_the_shortest_equivalent_one(path: str, shortest: str) -> None:
    assert clean(path) == shortest


def test_the_name_and_the_parent_are_those_of_the_cleaned_path() -> None:
    assert [base(path) for path in ("", "/", "a", "a/b", "a/b/", "/a", "..")] == [
        ".",
        "/",
        "a",
        "b",
        "b",
        "a",
        "..",
    ]
    assert [dirname(path) for path in ("a", "a/b", "/a", "../a", "a/b/c")] == [
        ".",
        "a",
        "/",
        "..",
        "a/b",
    ]


def test_a_string_is_a_directory_if_it_ends_in_a_slash() -> None:
    assert show(parse_file_or_dir("a/b")) == "./a/b"
    assert show(parse_file_or_dir("a/b/")) == "./a/b/"
    assert show(parse_file_or_dir(".")) == "./"
    assert show(parse_file_or_dir("/")) == "/"
    with pytest.raises(BassError, match="empty string isn't a path"):
        parse_file_or_dir("")


def test_extending_resolves_what_can_be_resolved_by_name() -> None:
    assert show(DirPath("a").extend(FilePath("../../b"))) == "../b"
    assert show(DirPath("").extend(FilePath("../b"))) == "/b"


@pytest.mark.parametrize("path", [FilePath("a"), CommandPath("a")])
def test_only_directories_are_extended(path: FilePath | CommandPath) -> None:
    with pytest.raises(BassError, match="cannot extend"):
        path.extend(FilePath("b"))
    with pytest.raises(BassError, match="cannot extend"):
        DirPath("a").extend(CommandPath("b"))


def test_a_path_below_a_root_stays_below_it() -> None:
    thunk = Thunk(args=(CommandPath("a"),))
    for placed in (
        ThunkPath(thunk), CachePath("c", mode=2), HostPath("/home"), FSPath(MemoryFiles({})),
    ):  # fmt: skip
        inner = placed.extend(DirPath("d")).extend(FilePath("f"))
        assert type(inner) is type(placed)
        assert inner.path_name() == "f"
        assert show(inner).endswith("/d/f")
        assert show(inner.parent_dir()).endswith("/d/")
    assert CachePath("c", mode=2).extend(FilePath("f")).mode == 2


def test_a_path_that_leaves_its_root_is_refused_where_it_is_used() -> None:
    path = HostPath("/home").extend(FilePath("../etc/passwd"))
    assert show(path) == "<host: /home>/../etc/passwd"
    with pytest.raises(BassError, match="leads out"):
        path.inside()
    assert HostPath("/home", DirPath(".")).inside() == ""
    assert HostPath("/home", FilePath("a/./b")).inside() == "a/b"
    assert HostPath("/home", FilePath("/etc")).inside() == "etc"


def test_globs_are_printed_but_do_not_make_paths_unequal() -> None:
    path = DirPath("a", ("./*.go", "./x"), ("./y/",))
    assert show(path) == "./a/?[./*.go ./x]![./y/]"
    assert equal(path, DirPath("a"))


def test_files_in_memory_are_equal_only_to_themselves() -> None:
    files = MemoryFiles({"a": b"x"})
    path = FSPath(files, FilePath("a"))
    assert equal(path, path)
    assert not equal(path, FSPath(files, FilePath("a")))
