"""Finding in lines: what matches, where, and in a time that a query can't stretch."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bassloop.terminal import strip, strip_lines
from bassloop.web.logs.run_search import (
    MAX_EXCERPT,
    MAX_SPANS,
    BadQuery,
    LogMatch,
    LogQuery,
    format_cursor,
    parse_cursor,
)


def found(query: LogQuery, text: str | bytes) -> list[LogMatch]:
    block = text.encode() if isinstance(text, str) else text
    matches, count = query.scan(block, 0, 1000)
    assert count == len(matches)
    return matches


def test_a_text_is_found_literally_whatever_its_case() -> None:
    [match] = found(LogQuery("a.b*"), "axbb\nxx A.B* yy a.b*\n")
    assert match == LogMatch(1, "xx A.B* yy a.b*", 0, ((3, 7), (11, 15)))
    assert found(LogQuery("a.b*", case=True), "A.B*\n") == []


def test_a_regular_expression_stays_in_its_line() -> None:
    query = LogQuery("^e[^x]+r$", regex=True)
    assert [match.line for match in found(query, "error\nan error\ne\nr\r\neaer\r\n")] == [0, 4]


def test_styles_do_not_affect_a_search() -> None:
    [match] = found(LogQuery("red green"), b"\x1b[31mred\x1b[0m \x1b[32mgreen\x1b[0m\n")
    assert (match.text, match.spans) == ("red green", ((0, 9),))


PIECES = (
    *("a", "B", "é", " ", "[", "]", "\\", "x\x9by", "\u202e", "\n", "\t", "\r", "\x00"),
    *(
        "\x1b",
        "\x1b[3",
        "1m",
        "\x1b[K",
        "\x1b(B",
        "\x1b[?25l",
        "\x1b]8;;http://a/\x07",
        "\x1b]8;;\x1b\\",
    ),
)
"""Characters, and what is taken out from between them."""


@given(
    st.lists(st.sampled_from(PIECES)),
    st.text("aBbé[]mxy\\1 \u202e", min_size=1, max_size=4),
    st.booleans(),
)
def test_a_text_is_found_with_anything_between_its_characters(
    pieces: list[str], text: str, case: bool
) -> None:
    block = "".join(pieces).encode() + b"\n"
    lines = strip_lines(block).decode().splitlines()
    wanted = [line for line in lines if (text in line if case else text.lower() in line.lower())]
    assert len(found(LogQuery(text, case=case), block)) == len(wanted)


def test_positions_are_counted_as_browsers_count() -> None:
    [match] = found(LogQuery("é"), "a😀é\n")
    assert match.spans == ((3, 4),)


def test_an_excerpt_comes_in_pieces_that_match_or_do_not() -> None:
    [match] = found(LogQuery("é"), "a😀é b é\n")
    assert match.pieces() == [("a😀", False), ("é", True), (" b ", False), ("é", True)]
    [match] = found(LogQuery("end"), f"{'x' * 2 * MAX_EXCERPT}end\n")
    assert [text for text, hit in match.pieces() if hit] == ["end"]
    assert "".join(text for text, _ in match.pieces()) == match.text


def test_bytes_that_are_not_text_are_searched_as_they_are_shown() -> None:
    [match] = found(LogQuery("end"), b"caf\xe9 end\n")
    assert (match.text, match.spans) == ("caf� end", ((5, 8),))


def test_an_expression_that_matches_nothing_matches_every_line() -> None:
    assert [match.line for match in found(LogQuery("x*", regex=True), "a\n\nxx\n")] == [0, 1, 2]


def test_a_limited_number_of_matches_is_returned_and_all_are_counted() -> None:
    matches, count = LogQuery("a").scan(b"a\nb\n" * 50, 10, 2)
    assert [match.line for match in matches] == [10, 12]
    assert count == 50


def test_a_long_line_is_returned_as_an_excerpt_with_some_of_its_matches() -> None:
    [match] = found(LogQuery("needle"), "x" * 5000 + "needle" * 100 + "\n")
    assert len(match.text) == MAX_EXCERPT
    assert match.text.startswith("x" * 80 + "needle")
    assert match.start == 5000 - 80
    assert match.spans[0] == (5000, 5006)
    assert len(match.spans) == MAX_SPANS


@pytest.mark.parametrize("source", ["(", "a)|(b", "[z-a]", "(?=x)", "(a{1000}){1000}"])
def test_invalid_regular_expressions_are_refused_with_the_reason(source: str) -> None:
    with pytest.raises(BadQuery, match="not a regular expression: "):
        LogQuery(source, regex=True)


@pytest.mark.parametrize("text", ["", "x" * 501])
def test_a_query_is_neither_empty_nor_long(text: str) -> None:
    with pytest.raises(BadQuery, match="1 to 500"):
        LogQuery(text)


def test_expressions_that_take_other_engines_forever_are_fast() -> None:
    began = time.perf_counter()
    assert found(LogQuery("(a+)+$|(a|aa)+b", regex=True), "a" * 100_000 + "!\n") == []
    assert time.perf_counter() - began < 60


@given(
    st.lists(st.text(st.sampled_from("ab é\x1b[31m\t\r"), max_size=12), max_size=12),
    st.sampled_from(["a", "b ", "é", "m", "1"]),
)
def test_a_text_is_found_in_the_line_where_it_is_shown(lines: list[str], text: str) -> None:
    shown = [strip(line.encode()) for line in lines]
    matches = found(LogQuery(text, case=True), "".join(line + "\n" for line in lines))
    assert [(match.line, match.text) for match in matches] == [
        (number, line) for number, line in enumerate(shown) if text in line
    ]
    for match in matches:
        assert match.spans == tuple(m.span() for m in re.finditer(re.escape(text), match.text))


def test_a_cursor_is_a_position() -> None:
    assert parse_cursor(format_cursor(7, 12)) == (7, 12)
    for wrong in ("", "7", "7-", "a-1", "1-1-1", "9" * 40 + "-1", "٣-1"):
        with pytest.raises(BadQuery):
            parse_cursor(wrong)


DEAR = ["(a?){999}a{999}b", "(a|b|ab|.){500}", "(?:.*a.{20}){10}", "a|b"]


@pytest.mark.parametrize("pattern", DEAR)
def test_a_block_is_so_small_that_no_pattern_holds_a_thread_for_long(pattern: str) -> None:
    query = LogQuery(pattern, regex=True)
    line = b"a" * 199 + b"\n"
    block = line * (query.block_bytes // len(line))
    began = time.thread_time()
    query.scan(block, 0, 1000)
    assert time.thread_time() - began < 1


@pytest.mark.parametrize("pattern", [r"(?i)(.*\pL){300}b", r"\pL{300}", r"[^\pL]" * 80])
def test_a_pattern_that_would_take_long_to_compile_is_refused(pattern: str) -> None:
    began = time.thread_time()
    with pytest.raises(BadQuery, match="too large"):
        LogQuery(pattern, regex=True)
    assert time.thread_time() - began < 0.1


def test_ordinary_patterns_are_not_too_large() -> None:
    for pattern in (r"(?i)error|warn(ing)?|\w+Exception", r"(\pL+) (\pL+)", ".{1000}"):
        assert LogQuery(pattern, regex=True).block_bytes > 0
