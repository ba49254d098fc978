"""Names and paths in messages: no path leads outside, and others are refused."""

from __future__ import annotations

import posixpath

import pytest
from hypothesis import given, strategies

from bassloop.runner.engine import path_rules
from bassloop.runner.errors import DriverError
from bassloop.wire import bass_pb2 as pb

from .made import in_memory


@pytest.mark.parametrize(
    "path", ["/etc/passwd", "..", "../x", "a/../../x", "./..", "//x", "a\0b", "x" * 5_000]
)
def test_a_path_outside_of_the_work_directory_is_refused(path: str) -> None:
    with pytest.raises(DriverError):
        path_rules.inside(path, "the path")


@given(strategies.text(alphabet="./ab\0 ", max_size=20))
def test_an_accepted_path_never_leads_out(path: str) -> None:
    try:
        taken = path_rules.inside(path, "the path")
    except DriverError:
        return
    joined = posixpath.normpath(posixpath.join("/work", taken))
    assert joined == "/work" or joined.startswith("/work/")


@pytest.mark.parametrize(
    ("target", "start", "directory", "written"),
    [
        (".bass/1/file", ".", False, "./.bass/1/file"),
        (".bass/1", ".", True, "./.bass/1/"),
        (".bass/1/file", "sub/dir", False, "../../.bass/1/file"),
        (".bass/1", ".bass/1", True, "./"),
        (".bass/2/x", ".bass/1", False, "../2/x"),
        ("/var/x", "sub", True, "/var/x/"),
    ],
)
def test_paths_are_relative_to_the_working_directory(
    target: str, start: str, directory: bool, written: str
) -> None:
    assert path_rules.relative_word(target, start, directory=directory) == written


def test_folders_of_files_in_memory_come_before_the_files() -> None:
    tree = in_memory("src", {"a": b"1", "sub": {"b": b"2", "deep": {"c": b"3"}}, "empty": {}})
    assert list(path_rules.logical_files(tree)) == [
        ("a", b"1"),
        ("sub", None),
        ("sub/b", b"2"),
        ("sub/deep", None),
        ("sub/deep/c", b"3"),
        ("empty", None),
    ]


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "../x", "/x", "a\0b", "x" * 300])
def test_a_hostile_name_in_memory_is_refused(name: str) -> None:
    for hostile in ({name: b"x"}, {name: {"y": b"x"}}, {"fine": {name: b"x"}}):
        with pytest.raises(DriverError, match="name of a file"):
            list(path_rules.logical_files(in_memory(".", hostile)))


def test_files_in_memory_that_come_twice_or_too_deep_are_refused() -> None:
    twice = pb.LogicalPath(
        dir=pb.LogicalPath.Dir(name=".", entries=[in_memory("a", b"1"), in_memory("a", {})])
    )
    with pytest.raises(DriverError, match="twice"):
        list(path_rules.logical_files(twice))
    deep: bytes | dict = b"bottom"
    for _ in range(path_rules.MAX_LOGICAL_DEPTH + 1):
        deep = {"d": deep}
    with pytest.raises(DriverError, match="deep"):
        list(path_rules.logical_files(in_memory(".", deep)))


@pytest.mark.parametrize(
    ("include", "exclude", "wanted", "left_out"),
    [
        (["*.x"], [], ["a.x"], ["a.y", "sub/a.x"]),
        (["./*.x"], ["./a.x"], ["b.x"], ["a.x"]),
        (["**/*.x"], [], ["a.x", "sub/deep/a.x"], ["a.y"]),
        (["sub"], [], ["sub", "sub/deep/a"], ["subway", "a"]),
        ([], ["sub/**"], ["a", "sub"], ["sub/a", "sub/deep/a"]),
        (["*", "!b*"], [], ["a"], ["b", "bc"]),
        (["[ab].x", "?"], [], ["a.x", "z"], ["c.x", "zz"]),
        (["a[^b]c"], [], ["adc"], ["abc", "a/c"]),
        (["."], [], ["a", "sub/b"], []),
        (["a+b(c)"], [], ["a+b(c)"], ["aab(c)"]),
    ],
)
def test_globs_choose_files(
    include: list[str], exclude: list[str], wanted: list[str], left_out: list[str]
) -> None:
    chosen = path_rules.pattern_filter(include, exclude)
    assert chosen is not None
    assert all(chosen(path) for path in wanted)
    assert not any(chosen(path) for path in left_out)


def test_without_patterns_no_file_is_chosen() -> None:
    assert path_rules.pattern_filter((), ()) is None


@given(strategies.text(alphabet="*?[]!^-\\/.ab{}()|$", max_size=30))
def test_any_pattern_is_accepted_or_refused_with_a_message(pattern: str) -> None:
    try:
        chosen = path_rules.pattern_filter([pattern], [])
    except DriverError:
        return
    assert chosen is not None
    chosen("a/b")


def test_no_pattern_is_slow_to_match() -> None:
    chosen = path_rules.pattern_filter(["**/" * 50 + "*a*" * 50 + "b"], [])
    assert chosen is not None
    assert not chosen("a" * 1_000)
