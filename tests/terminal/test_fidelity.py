"""Logs look as they do in a terminal."""

from __future__ import annotations

import pytest

from bassloop.terminal import Terminal

from .streams import lines

CASES = {
    "a colour lasts until it is changed, and each line says it": (
        b"\x1b[31mred\nstill\x1b[0m\nplain\n",
        [b"\x1b[31mred", b"\x1b[31mstill\x1b[0m", b"plain"],
    ),
    "a return lets the next text write over": (b"10%\r20%\r100%\nok\n", [b"100%", b"ok"]),
    "what is longer stays behind": (b"abcdef\rxy\n", [b"xycdef"]),
    "erasing to the right ends that": (b"abcdef\rxy\x1b[K\n", [b"xy"]),
    "erasing the line, then writing": (b"abcdef\x1b[2K\rxy\n", [b"xy"]),
    "a spinner": (b"work |\b/\b-\b\\\bdone\n", [b"work done"]),
    "lines drawn again": (
        b"one 0%\ntwo 0%\n\x1b[2A\x1b[2Kone 50%\n\x1b[2Ktwo 9%\n\x1b[2Aone 100%\ntwo 100%\n",
        [b"one 100%", b"two 100%"],
    ),
    "colours written over keep to their columns": (
        b"\x1b[31mred\x1b[32mgreen\x1b[0m\r\x1b[1mXX\x1b[0m\n",
        [b"\x1b[1mXX\x1b[0m\x1b[31md\x1b[0m\x1b[32mgreen"],
    ),
    "tabs stay tabs": (b"a\tb\n", [b"a\tb"]),
    "a tab moves over what is there": (b"abcdefghij\r\tX\n", [b"abcdefghXj"]),
    "wide characters take two columns": ("漢字x\ra\n".encode(), ["a 字x".encode()]),
    "a return before a newline is nothing": (b"dos\r\nlines\r\n", [b"dos", b"lines"]),
    "titles and unknown functions are gone": (
        b"\x1b]0;title\x07a\x1b[?25lb\x1b[>0qc\x1b(Bd\x1bPx\x1b\\e\n",
        [b"abcde"],
    ),
    "a hyperlink stays, and ends with its line": (
        b"\x1b]8;;https://example.test/\x07here\nnot\n",
        [b"\x1b]8;;https://example.test/\x07here", b"not"],
    ),
    "a string that never ends swallows one line at most": (b"a\x1b]0;oops\nb\n", [b"a", b"b"]),
    "bytes that are no text stay bytes": (b"\xff\xfe\n", [b"\xff\xfe"]),
    "a compiler's colours": (
        b"\x1b[01m\x1b[Kmain.c:1:\x1b[m\x1b[K \x1b[01;31m\x1b[Kerror:\x1b[m\x1b[K no\n",
        [b"\x1b[01mmain.c:1:\x1b[m \x1b[01;31merror:\x1b[m no"],
    ),
    "yarn's steps": (b"\x1b[2K\x1b[1Gfirst\x1b[2K\x1b[1Gsecond\n", [b"second"]),
}


@pytest.mark.parametrize(("data", "expected"), CASES.values(), ids=CASES)
def test_a_log_looks_like_in_a_terminal(data: bytes, expected: list[bytes]) -> None:
    assert lines(b"\x1b[m" + data)[:1] != [] or not expected
    assert lines(data) == expected


def test_four_thousand_frames_leave_three_lines() -> None:
    frame = b"\x1b[3A\x1b[1G" + b"".join(
        b"\x1b[33mlayer %d\x1b[0m [%b]\x1b[K\n" % (n, b"=" * 9) for n in range(3)
    )
    data = b"\n\n\n" + frame * 4000 + b"done\n"
    assert [len(line) > 5 for line in lines(data)[:3]] == [True, True, True]
    assert len(lines(data)) == 4


def test_only_lines_that_scrolled_out_are_settled() -> None:
    terminal = Terminal(rows=3)
    assert terminal.feed(b"1\n2\n3") == []
    assert terminal.screen() == [b"1", b"2", b"3"]
    assert terminal.feed(b"\n4\n") == [b"1", b"2"]
    assert terminal.feed(b"\x1b[9A\x1b[KX\n") == []
    assert terminal.screen() == [b"X", b"4"]
    assert terminal.finish() == [b"X", b"4"]
    assert terminal.screen() == []


def test_a_terminal_has_at_least_two_rows() -> None:
    with pytest.raises(ValueError, match="at least 2 rows, not 1"):
        Terminal(1)
