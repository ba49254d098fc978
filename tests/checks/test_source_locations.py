"""Which paths of a log are the repository's."""

from __future__ import annotations

import posixpath
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bassloop.checks.source_links import RepositoryPaths, annotate
from bassloop.failures import Location
from bassloop.failures.annotations import LogAnnotation

KNOWN = frozenset(
    {"src/app.py", "app.py", "pkg/x/x_test.go", "pkg/y/y_test.go", "pkg/y/util.go", "util.go"}
)


def annotation(*paths: str, level: str = "failure", line: int = 3) -> LogAnnotation:
    return LogAnnotation(tuple(Location(path, line) for path in paths), "broke", level)


def own(path: str, known: frozenset[str] | None = KNOWN) -> str | None:
    noted = annotate([annotation(path)], RepositoryPaths(known))
    return noted[0].path if noted else None


@pytest.mark.parametrize(
    ("path", "is_ours"),
    [
        ("src/app.py", "src/app.py"),
        ("./src/app.py", "src/app.py"),
        ("src/../src/app.py", "src/app.py"),
        ("/build/checkout/src/app.py", "src/app.py"),
        ("/build/app.py", "app.py"),
        ("src\\app.py", "src/app.py"),
        ("x_test.go", "pkg/x/x_test.go"),
        ("y/util.go", "pkg/y/util.go"),
        ("../util.go", "util.go"),
        ("nowhere.py", None),
        ("/nowhere/else.py", None),
        ("/usr/lib/python3.12/app.py", None),
        ("/venv/lib/python3.12/site-packages/src/app.py", None),
        ("/root/.cargo/registry/src/app.py", None),
    ],
)
def test_a_path_means_the_file_in_the_repository_that_has_the_same_end(
    path: str, is_ours: str | None
) -> None:
    assert own(path) == is_ours


def test_a_name_that_several_files_have_is_ambiguous() -> None:
    known = frozenset({"a/util.go", "b/util.go"})
    assert own("util.go", known) is None
    assert own("b/util.go", known) == "b/util.go"


@given(st.sets(st.text("ab/", min_size=1, max_size=6)), st.text("ab/", min_size=1, max_size=4))
def test_a_path_with_a_unique_end_is_found_among_any_paths(known: set[str], path: str) -> None:
    path = path.strip("/") or "a"
    clean = {posixpath.normpath(each).strip("/") or "b" for each in known}
    ends = [each for each in clean if each.endswith(f"/{posixpath.normpath(path)}")]
    if path not in clean and len(ends) == 1:
        assert own(path, frozenset(clean)) == ends[0]


def test_a_name_that_very_many_files_have_is_looked_up_no_slower() -> None:
    """Each location in a log took 27 ms on the event loop, among 100,000 files with the same name."""

    def seconds(count: int) -> float:
        paths = RepositoryPaths([f"folder{number}/x/a.py" for number in range(count)])
        began = time.process_time()
        for number in range(200):
            assert paths.resolve(f"other{number}/x/a.py") is None
        return time.process_time() - began

    assert seconds(50_000) < 30 * seconds(500)


@pytest.mark.parametrize(
    ("path", "is_ours"),
    [("src/a.py", "src/a.py"), ("./a.py", "a.py"), ("/x/a.py", None), ("../a.py", None)],
)
def test_without_a_list_of_files_only_paths_inside_the_repository_are_accepted(
    path: str, is_ours: str | None
) -> None:
    assert own(path, None) == is_ours


def test_the_innermost_frame_of_the_project_is_the_location() -> None:
    found = annotation("/usr/lib/python3.12/json/decoder.py", "/build/src/app.py", "/build/app.py")
    [noted] = annotate([found], RepositoryPaths(KNOWN))
    assert noted.path == "src/app.py"


def test_failures_take_precedence_and_keep_their_order_if_there_are_too_many_annotations() -> None:
    found = [
        annotation("app.py", level="notice", line=1),
        annotation("app.py", level="warning", line=2),
    ]
    found += [annotation("app.py", line=line) for line in (3, 4)]
    assert [noted.line for noted in annotate(found, RepositoryPaths(KNOWN), limit=3)] == [2, 3, 4]


PATHS = st.text(st.sampled_from("ab./\\~"), min_size=1, max_size=12)


@given(PATHS, st.none() | st.frozensets(PATHS, max_size=5))
def test_an_annotation_is_inside_the_repository_whatever_a_log_says(
    path: str, known: frozenset[str] | None
) -> None:
    found = own(path, known)
    if known is not None:
        assert found is None or found in known
    elif found is not None:
        assert not found.startswith("/")
        assert ".." not in found.split("/")
