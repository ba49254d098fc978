"""Stack frames of libraries, held to what real tools print."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bassloop.failures.library_frames import LibraryFrames, library_frames

CORPUS = Path(__file__).parent / "corpus"


def log(name: str) -> list[str]:
    return (CORPUS / f"{name}.txt").read_text().splitlines()


@pytest.mark.parametrize(
    ("name", "first", "count", "folder"),
    [
        ("cargo-test", "   0: __rustc::rust_begin_unwind", 4, ""),
        ("go-panic", "testing.tRunner.func1.2({0x574440, 0x269bfd8dc000})", 3, ""),
        ("maven-test", "\tat org.junit.jupiter.api.AssertionFailureBuilder.build", 5, ""),
        ("node-test", "    at Test.runInAsyncScope (node:async_hooks", 6, ""),
        ("pytest-collect", "/usr/lib/python3.13/importlib/__init__.py:88: in import_module", 1, ""),
        ("tape", "      at Test.assert [as _assert]", 2, "node_modules"),
        ("vite", "    at aggregateBindingErrorsIntoJsError", 6, "node_modules"),
    ],
)
def test_frames_of_libraries_are_found(name: str, first: str, count: int, folder: str) -> None:
    lines = log(name)
    found = library_frames(lines)[0]
    assert lines[found.start].lstrip().startswith(first.lstrip())
    assert (found.count, found.folder) == (count, folder)


def test_the_frames_of_a_project_are_between_those_of_libraries() -> None:
    lines = log("cargo-test")
    before, after = library_frames(lines)[:2]
    assert lines[before.stop : after.start] == [
        "   4: shop::tests::adds",
        "             at ./src/lib.rs:15:9",
        "   5: shop::tests::adds::{{closure}}",
        "             at ./src/lib.rs:14:14",
    ]


def test_each_format_of_frames_is_known() -> None:
    lines = [
        "# /usr/lib/ruby/gems/3.1/gems/rspec-core/lib/a.rb:1:in 'run'",
        "from /var/lib/gems/3.1/gems/rake/b.rb:7:in `each'",
        "#0 /app/vendor/phpunit/phpunit/src/A.php(98): run()",
        "/app/vendor/phpunit/phpunit/src/A.php:98",
        "   at System.RuntimeMethodHandle.InvokeMethod(Object target, Void** arguments)",
        "   at Xunit.Assert.Equal(Int32 expected, Int32 actual)",
        " ❯ runTest node_modules/vitest/dist/chunk.js:1:2",
        '  File "/venv/lib/python3.13/site-packages/trio/_core/_run.py", line 7, in run',
    ]
    assert library_frames(lines) == [LibraryFrames(0, 8, 8, "")]


@pytest.mark.parametrize(
    "line",
    [
        "    at Object.toBe (sum.test.js:9:26)",
        "\tat ShopTest.adds(ShopTest.java:6)",
        "     at Shop.Cart.First() in /src/shop/Cart.cs:line 7",
        '  File "<string>", line 1, in <module>',
        "tests/test_shop.py:20: in database",
        "    # ./shop_spec.rb:7:in `block (2 levels) in <top (required)>'",
        "node_modules is missing; run npm install",
        "   2:   type =",
        "/usr/include/stdio.h:33:10: error: unknown type name",
    ],
)
def test_other_lines_are_not_frames_of_libraries(line: str) -> None:
    assert library_frames([line, line]) == []


def test_a_line_that_has_to_stay_visible_is_not_folded() -> None:
    lines = log("maven-test")
    whole = library_frames(lines)[0]
    visible = whole.start + 2
    parts = library_frames(lines, {visible})[:2]
    assert [(part.start, part.stop) for part in parts] == [
        (whole.start, visible),
        (visible + 1, whole.stop),
    ]


@given(st.lists(st.sampled_from([*log("cargo-test"), *log("go-panic"), *log("vite"), ""])))
def test_ranges_of_frames_are_in_order_and_within_the_lines(lines: list[str]) -> None:
    end = 0
    for found in library_frames(lines):
        assert end <= found.start < found.stop <= len(lines)
        assert 1 <= found.count <= found.stop - found.start
        end = found.stop
