"""Finding lines of files that logs name. The logs are real output of the tools."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bassloop.failures.annotations import MAX_FOUND, LogAnnotation, find_annotations
from bassloop.failures.failure import Failure, Location, Rank

Said = tuple[str, int, int | None, str, str, str | None]


def annotations_of(log: str) -> list[Said]:
    """Return a log's annotations: the innermost location, level, message and title."""
    found = []
    for annotation in find_annotations(log.splitlines()):
        location = annotation.locations[0]
        found.append(
            (
                location.path,
                location.line,
                location.column,
                annotation.level,
                annotation.message,
                annotation.title,
            )
        )
    return found


@pytest.mark.parametrize(
    ("line", "annotation"),
    [
        ("src/a.sh:3: it broke", ("src/a.sh", 3, None, "failure", "it broke", None)),
        ("  ./a.py:3:14: it broke", ("./a.py", 3, 14, "failure", "it broke", None)),
        (
            "pkg/x/x.go:2:23: undefined: y",
            ("pkg/x/x.go", 2, 23, "failure", "undefined: y", None),
        ),
        ("    x_test.go:3: F() = 1", ("x_test.go", 3, None, "failure", "F() = 1", None)),
        (
            "a.c:2:10: error: ‘x’ undeclared (first use in this function)",
            ("a.c", 2, 10, "failure", "‘x’ undeclared (first use in this function)", None),
        ),
        (
            "a.c:4:21: warning: unused variable ‘p’ [-Wunused-variable]",
            ("a.c", 4, 21, "warning", "unused variable ‘p’", "-Wunused-variable"),
        ),
        ("a.c:2:10: note: only once", ("a.c", 2, 10, "notice", "only once", None)),
        (
            "a.c:1:10: fatal error: x.h: No such file or directory",
            ("a.c", 1, 10, "failure", "x.h: No such file or directory", None),
        ),
        (
            'src/a.py:3: error: Name "y" is not defined  [name-defined]',
            ("src/a.py", 3, None, "failure", 'Name "y" is not defined', "name-defined"),
        ),
        (
            "src/a.ts(12,5): error TS2322: Type 'string' is not assignable.",
            ("src/a.ts", 12, 5, "failure", "Type 'string' is not assignable.", "TS2322"),
        ),
        (
            "src/a.py:1:8: F401 [*] `os` imported but unused",
            ("src/a.py", 1, 8, "failure", "F401 [*] `os` imported but unused", None),
        ),
        (
            "s.sh: line 2: nosuch: command not found",
            ("s.sh", 2, None, "failure", "nosuch: command not found", None),
        ),
        ("s.sh: 2: nosuch: not found", ("s.sh", 2, None, "failure", "nosuch: not found", None)),
        ("Makefile:3: *** stop.", ("Makefile", 3, None, "failure", "*** stop.", None)),
        ("src\\b.c:3: broke", ("src\\b.c", 3, None, "failure", "broke", None)),
        ("héllo/ü.py:3: broke", ("héllo/ü.py", 3, None, "failure", "broke", None)),
    ],
)
def test_a_line_that_names_a_location_is_an_annotation(line: str, annotation: Said) -> None:
    assert annotations_of(line) == [annotation]


@pytest.mark.parametrize(
    "line",
    [
        "12:30:45: something happened",
        "2026-01-02T12:30:45: something happened",
        "http://example.com:8080: refused",
        "example.com:443: connection refused",
        "127.0.0.1:80: connection refused",
        "[::1]:80: refused",
        "localhost:8080: refused",
        "a/b.py:0: no line",
        "step 3:4: fine",
        "error: src/a.py",
        "see a.py:3",
        "",
    ],
)
def test_a_line_without_a_location_is_no_annotation(line: str) -> None:
    assert annotations_of(line) == []


def test_a_traceback_is_one_annotation_at_its_innermost_frame_with_the_exception() -> None:
    log = """\
Traceback (most recent call last):
  File "/work/src/app.py", line 10, in <module>
    main()
    ~~~~^^
  File "/usr/lib/python3.12/json/decoder.py", line 338, in decode
    obj, end = self.raw_decode(s)
json.decoder.JSONDecodeError: Expecting value: line 1 column 1 (char 0)
"""
    [annotation] = find_annotations(log.splitlines())
    assert [location.path for location in annotation.locations] == [
        "/usr/lib/python3.12/json/decoder.py",
        "/work/src/app.py",
    ]
    assert annotation.message.startswith("json.decoder.JSONDecodeError: Expecting")


def test_a_chain_of_exceptions_and_a_group_are_an_annotation_each() -> None:
    log = """\
Traceback (most recent call last):
  File "b.py", line 2, in <module>
ZeroDivisionError: division by zero

The above exception was the direct cause of the following exception:

  + Exception Group Traceback (most recent call last):
  |   File "b.py", line 4, in <module>
  | ExceptionGroup: g (1 sub-exception)
  +-+---------------- 1 ----------------
    | Traceback (most recent call last):
    |   File "c.py", line 7, in f
    | ValueError: 1
    +------------------------------------
"""
    assert [(path, line, message) for path, line, _, _, message, _ in annotations_of(log)] == [
        ("b.py", 2, "ZeroDivisionError: division by zero"),
        ("b.py", 4, "ExceptionGroup: g (1 sub-exception)"),
        ("c.py", 7, "ValueError: 1"),
    ]


def test_a_syntax_error_has_no_traceback() -> None:
    log = '  File "/work/x.py", line 3\n    def f(:\n          ^\nSyntaxError: invalid syntax\n'
    assert annotations_of(log) == [
        ("/work/x.py", 3, None, "failure", "SyntaxError: invalid syntax", None)
    ]


PYTEST = """\
    def test_one():
>       assert 1 + 1 == 3, "sums"
E       AssertionError: sums
E       assert (1 + 1) == 3

test_a.py:5: AssertionError
___________________________________ test_two ___________________________________

    def test_two():
>       helper(4)

test_a.py:7:
_ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _

>       raise ValueError(f"no {x}")
E       ValueError: no 4

test_a.py:3: ValueError
=========================== short test summary info ============================
FAILED test_a.py::test_one - AssertionError: sums
FAILED test_a.py::test_two - ValueError: no 4
"""

PYTEST_SHORT = """\
___________________________________ test_one ___________________________________
test_a.py:5: in test_one
    assert 1 + 1 == 3, "sums"
E   AssertionError: sums
E   assert (1 + 1) == 3
___________________________________ test_two ___________________________________
test_a.py:7: in test_two
    helper(4)
test_a.py:3: in helper
    raise ValueError(f"no {x}")
E   ValueError: no 4
=========================== short test summary info ============================
"""


@pytest.mark.parametrize(("log", "titles"), [(PYTEST, True), (PYTEST_SHORT, False)])
def test_pytest_prints_the_message_and_the_location_in_either_order(log: str, titles: bool) -> None:
    one = "AssertionError" if titles else None
    two = "ValueError" if titles else None
    assert annotations_of(log) == [
        ("test_a.py", 5, None, "failure", "AssertionError: sums\nassert (1 + 1) == 3", one),
        ("test_a.py", 3, None, "failure", "ValueError: no 4", two),
    ]


def test_rustc_prints_the_message_and_then_the_location() -> None:
    log = """\
error[E0308]: mismatched types
 --> src/r.rs:1:26
  |
1 | fn main() { let x: i32 = "a"; }
warning: unused variable: `y`
  --> src/r.rs:4:9
error: aborting due to 1 previous error; 1 warning emitted
"""
    assert annotations_of(log) == [
        ("src/r.rs", 1, 26, "failure", "mismatched types", "E0308"),
        ("src/r.rs", 4, 9, "warning", "unused variable: `y`", None),
    ]


@pytest.mark.parametrize(
    "log",
    [
        "thread 'main' (7531) panicked at src/p.rs:1:13:\nboom 1\n",
        "thread 'tests::it' panicked at src/p.rs:1:13:\nboom 1\n",
        "thread 'main' panicked at 'boom 1', src/p.rs:1:13\n",
    ],
)
def test_a_panic_in_rust_has_its_location_and_message_in_one_line_or_two(log: str) -> None:
    assert annotations_of(log) == [("src/p.rs", 1, 13, "failure", "boom 1", None)]


def test_a_panic_in_go_is_one_annotation_of_its_stack() -> None:
    log = """\
panic: runtime error: invalid memory address or nil pointer dereference [recovered]
[signal SIGSEGV: segmentation violation code=0x1 addr=0x0 pc=0x52e362]

goroutine 7 [running]:
testing.tRunner.func1()
\t/usr/local/go/src/testing/testing.go:1977 +0x349
x/pkg/x.TestG(0x12e3aac6a908?)
\t/src/pkg/x/x_test.go:4 +0x2
created by testing.(*T).Run in goroutine 1
\t/usr/local/go/src/testing/testing.go:2101 +0x4c5
FAIL\tx/pkg/x\t0.005s
"""
    [annotation] = find_annotations(log.splitlines())
    assert annotation.locations[1].path == "/src/pkg/x/x_test.go"
    assert annotation.message.startswith("runtime error: invalid memory address")


def test_a_panic_without_a_stack_hides_nothing_that_follows_it() -> None:
    log = ["panic: could not connect", *(f"attempt {number}" for number in range(40)), ""]
    log += ["error[E0308]: mismatched types", "  --> src/a.rs:3:5"]
    [annotation] = find_annotations(log)
    assert annotation.message == "mismatched types"


def test_eslint_names_the_file_once() -> None:
    log = """\
/work/src/a.js
  12:5   error    'x' is not defined  no-undef
  13:10  warning  Unexpected console statement  no-console

/work/src/b.jsx
  1:1  error  Parsing error: Unexpected token

✖ 3 problems (2 errors, 1 warning)
"""
    assert annotations_of(log) == [
        ("/work/src/a.js", 12, 5, "failure", "'x' is not defined", "no-undef"),
        ("/work/src/a.js", 13, 10, "warning", "Unexpected console statement", "no-console"),
        ("/work/src/b.jsx", 1, 1, "failure", "Parsing error: Unexpected token", None),
    ]


def test_repeated_lines_are_annotated_once_and_the_number_is_bounded() -> None:
    assert len(find_annotations(["a.c:1: broke"] * 10)) == 1
    assert len(find_annotations(f"a.c:{n}: broke" for n in range(1, 10_000))) == MAX_FOUND


PIECES = st.sampled_from(
    [
        *PYTEST.splitlines(),
        *PYTEST_SHORT.splitlines(),
        "Traceback (most recent call last):",
        '  File "a.py", line 3, in f',
        "  | ValueError: x",
        "error[E0308]: mismatched",
        "  --> a.rs:1:2",
        "thread 'x' panicked at a.rs:1:2:",
        "panic: x",
        "\t/a/b.go:3 +0x12",
        "a.js",
        "  1:2  error  broke  rule",
        "a.c:1:2: error: broke",
        "",
    ]
)


@given(st.lists(PIECES | st.text(), max_size=40))
def test_annotations_of_any_log_are_valid(lines: list[str]) -> None:
    for annotation in find_annotations(lines):
        assert isinstance(annotation, LogAnnotation)
        assert annotation.locations
        assert annotation.message
        assert annotation.message.encode()
        assert annotation.level in ("notice", "warning", "failure")
        for location in annotation.locations:
            assert location.path
            assert location.line >= 1
            assert location.column is None or location.column >= 1


@pytest.mark.parametrize(
    "line", ["a" * 100_000, "a/" * 50_000, " " * 100_000 + "a", "1:" * 50_000, 'File "' * 20_000]
)
def test_a_long_line_costs_no_more_than_others(line: str) -> None:
    began = time.process_time()
    assert find_annotations([line] * 100) == []
    assert time.process_time() - began < 2


def test_failures_at_locations_without_an_annotation_are_added() -> None:
    lines = ["src/a.c:3:1: error: no such type"]
    known = Failure("gcc", Rank.ERROR, "no such type", None, (Location("src/a.c", 3),), 0, 0)
    other = Failure("jest", Rank.TEST, "", "adds", (Location("add.test.js", 5, 2),), 4, 9)
    vague = Failure("git", Rank.MESSAGE, "fatal", None, (Location("x", 1),), 4, 9)
    found = find_annotations(lines, [known, other, vague])
    assert [(each.locations[0].path, each.message, each.title) for each in found] == [
        ("src/a.c", "no such type", None),
        ("add.test.js", "failed", "adds"),
    ]
    assert len(find_annotations(lines, [known, other, vague], limit=1)) == 1
