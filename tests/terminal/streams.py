"""Streams of terminal input for property tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import strategies as st

from bassloop.terminal import Terminal

if TYPE_CHECKING:
    from collections.abc import Iterable

TEXT = (b"abc", b"xy", b"longer text", b" ", b"0")
LOOKS = (
    b"\x1b[31m",
    b"\x1b[0m",
    b"\x1b[m",
    b"\x1b[1;42m",
    b"\x1b[22;3;4;7;9m",
    b"\x1b[39;49m",
    b"\x1b[95;103m",
    b"\x1b[38;5;100m",
    b"\x1b[48;2;1;2;3m",
)
MOVES = (
    b"\n",
    b"\r",
    b"\r\n",
    b"\b",
    b"\x0b",
    b"\x1b[A",
    b"\x1b[2A",
    b"\x1b[B",
    b"\x1b[3B",
    b"\x1b[C",
    b"\x1b[4C",
    b"\x1b[3D",
    b"\x1b[E",
    b"\x1b[2F",
    b"\x1b[G",
    b"\x1b[5G",
    b"\x1b[2d",
    b"\x1b[2;3H",
    b"\x1b[H",
    b"\x1bD",
    b"\x1bE",
    b"\x1bM",
)
ERASURES = (
    b"\x1b[K",
    b"\x1b[1K",
    b"\x1b[2K",
    b"\x1b[J",
    b"\x1b[1J",
    b"\x1b[2J",
    b"\x1b[X",
    b"\x1b[3X",
    b"\x1b[P",
    b"\x1b[2P",
    b"\x1b[@",
    b"\x1b[2@",
    b"\x1b[L",
    b"\x1b[M",
)
ODDITIES = (
    b"\t",
    b"\x0c",
    b"\x07",
    b"\x00",
    b"\x18",
    b"\x1b7",
    b"\x1b8",
    b"\x1bc",
    b"\x1b[2;3r",
    b"\x1b[r",
    b"\xc3\xa9",
    b"\xe4\xb8\xad",
    b"e\xcc\x81",
    b"\xcc\x81",
    b"\xff",
    b"\xe4\xb8",
    b"\xc2\x9b",
    b"\x1b]8;;http://example.test/z\x07",
    b"\x1b]8;;\x1b\\",
    b"\x1b]0;title\x07",
    b"\x1bPstring\x1b\\",
    b"\x1b[?25l",
    b"\x1b",
    b"\x1b[",
    b"\x1b]8;;",
    b"\x1b\\",
    b"\x1b[1;2",
    b"\x1b(B",
)


def streams(*kinds: Iterable[bytes], most: int = 40) -> st.SearchStrategy[bytes]:
    tokens = [token for kind in kinds for token in kind]
    return st.lists(st.sampled_from(tokens), max_size=most).map(b"".join)


FRAME_LINES = (
    b"",
    b"abc",
    b"longer text",
    b"\x1b[31mred\x1b[0m",
    b"\x1b[1mbold",
    b"\xe4\xb8\xad",
    b"e\xcc\x81",
    b"\xcc\x81",
    b"\x1b[0m",
    b"a\x1b[K",
    b"t\tab",
    b"\x1b[?25lhidden",
    b"12%",
)
MOVERS = (b"\x1b[2A", b"\x1b[2A\r", b"\x1b[A\x1b[1A\x1b[0G", b"\r\x1b[2A", b"\x1b[1A", b"\x1b[9A")


def frames(most: int = 8) -> st.SearchStrategy[bytes]:
    """Lines that are drawn over each other, as progress displays do, and things in between."""
    lines = st.lists(st.sampled_from(FRAME_LINES), min_size=1, max_size=3)
    body = st.tuples(lines, st.sampled_from((b"", b"", b"", b"\x1b[?25h", b"x"))).map(
        lambda parts: b"".join(line + b"\n" for line in parts[0]) + parts[1]
    )
    between = st.one_of(st.sampled_from(MOVERS), st.sampled_from(MOVERS[:1]), streams(TEXT, most=2))
    return st.lists(st.tuples(body, between), max_size=most).map(
        lambda parts: b"".join(body + mover for body, mover in parts)
    )


def settled(pieces: Iterable[bytes], rows: int = 4) -> tuple[bytes, list[bytes]]:
    """All that settles from these pieces, and the screen before the rest settled."""
    terminal = Terminal(rows)
    text = b"".join(terminal.settle(piece).text for piece in pieces)
    screen = terminal.screen()
    return text + terminal.settle_rest().text, screen


def lines(data: bytes, rows: int = 4) -> list[bytes]:
    terminal = Terminal(rows)
    return terminal.feed(data) + terminal.finish()
