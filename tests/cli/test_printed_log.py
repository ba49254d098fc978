"""Logs in a pipe, where nothing can be redrawn: every line is printed in order, as soon as it is whole."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from bassloop.cli.log_display import PrintedLog
from bassloop.terminal import Terminal


def test_a_line_is_printed_once_it_is_whole() -> None:
    log = PrintedLog()
    assert log.preview(0, [b"a", b"b"], ended=False) == [b"a", b"b"]
    assert log.preview(0, [b"a", b"b", b"c"], ended=False) == [b"c"]
    assert log.settle([b"a", b"b"]) == []
    assert log.preview(2, [b"c", b"d"], ended=True) == [b"d"]
    assert log.settle([b"c", b"d", b"e"]) == [b"e"]


def test_a_line_that_was_rewritten_is_printed_again_once_it_cannot_change() -> None:
    log = PrintedLog()
    assert log.preview(0, [b"1 %", b"x"], ended=False) == [b"1 %", b"x"]
    assert log.preview(0, [b"2 %", b"x", b"y"], ended=False) == []
    assert log.settle([b"3 %"]) == [b"3 %"]
    assert log.preview(1, [b"x", b"y"], ended=False) == []
    assert log.preview(1, [b"x", b"z"], ended=True) == [b"x", b"z"]
    assert log.settle([b"x", b"z"]) == []


def test_lines_that_are_not_stored_yet_delay_those_after_them() -> None:
    log = PrintedLog()
    assert log.preview(2, [b"c"], ended=False) == []
    assert log.settle([b"a", b"b", b"c"]) == [b"a", b"b", b"c"]
    assert log.preview(2, [b"c"], ended=True) == []


@example([b"\n", b"\n", b"\x1b[A", b"\x1b[A", b"d\n", b"\n", b"a"])
@given(st.lists(st.sampled_from([b"a", b"bc", b"\n", b"\r", b"\x1b[A", b"\x1b[J", b"d\n"])))
def test_every_line_is_printed_in_order_whatever_a_program_writes(pieces: list[bytes]) -> None:
    terminal, log = Terminal(rows=4), PrintedLog()
    printed: list[bytes] = []
    settled: list[bytes] = []

    def update(lines: list[bytes], *, ended: bool) -> None:
        settled.extend(lines)
        printed.extend(log.settle(lines))
        above = terminal.line - terminal.first_line
        screen = terminal.screen()
        screen += [b""] * (above - len(screen))
        lines = screen if ended else screen[:above]
        printed.extend(log.preview(terminal.first_line, lines, ended=ended))

    for piece in pieces:
        update(terminal.feed(piece), ended=False)
    update([], ended=True)
    update(terminal.finish(), ended=True)
    left = iter(printed)
    assert all(line in left for line in settled)
    if not {b"\r", b"\x1b[A", b"\x1b[J"} & set(pieces):
        assert printed == settled
