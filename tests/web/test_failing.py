"""The line that broke it."""

from __future__ import annotations

from bassloop.web.failing import failing


def test_the_first_error_and_those_beside_it_are_the_place() -> None:
    lines = [
        b"compiling",
        b"a.c:1:2: error: no",
        b"    1 | int",
        b"a.c:9:2: \x1b[31merror:\x1b[0m neither",
        b"fine",
        b"fine",
        b"fine",
        b"make: *** [all] Error 1",
        b"== 2 errors in 1 file ==",
        b"",
    ]
    place = failing(7, 100, lines)
    assert place is not None
    assert (place.row, place.first, place.last) == (7, 101, 103)
    assert place.said == "2 errors in 1 file"


def test_without_one_it_is_the_last_word() -> None:
    place = failing(7, 0, [b"one", b"\x1b[1mtwo\x1b[0m", b"", b"  "])
    assert place is not None
    assert (place.first, place.last, place.said) == (1, 1, "two")


def test_a_log_that_says_nothing_has_no_such_place() -> None:
    assert failing(7, 0, []) is None
    assert failing(7, 0, [b"", b" \t"]) is None
