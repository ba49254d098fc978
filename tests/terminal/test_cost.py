"""No bytes cost much more than others, so that no log can hold up the loop."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING

import pytest
from benchmarks.terminal import coloured

from bassloop.terminal import Terminal

if TYPE_CHECKING:
    from collections.abc import Callable

SIZE = 1 << 20
RATIO = 30
"""The bound on any input's cost, relative to coloured text: nearly twice the highest on a busy machine."""
TRIES = 3

ATTACKS = {
    "inserted lines": b"\x1b[1000L",
    "deleted lines": b"\x1b[1000M",
    "far positions": b"\x1b[500;500H",
    "inserted columns": b"x\r\x1b[1000@",
    "erased screens": b"\x1b[2J",
    "erased beginnings": b"x\x1b[1K",
    "far columns": b"\x1b[9999Gx\n",
    "far columns in one line": b"x\x1b[9999ay\n",
    "far wide characters": b"\x1b[9999G" + "中".encode() + b"\n",
    "columns, then text": b"\x1b[400Cx\x1b[400Dy\n",
    "text, then wide characters": b"\x1b[400Cx" + "中".encode() + b"\r",
    "halves of wide characters": "\x1b[3G中\x1b[2Gx".encode(),
    "combining characters": "e\u0301\r".encode(),
    "erased far columns": b"\x1b[512Gx\x1b[1G\x1b[X\n",
    "vertical tabs": b"x\x0b",
    "index": b"\x1bDx",
    "tabs": b"\t",
    "tabs over text": b"x\ty\rz\t\n",
    "tabs before text": b"\t" * 500 + b"x\ry\n",
    "saved and restored": b"\x1b7x\x1b8",
    "backspaces": b"x\b\b",
    "returns": b"\rx\ry\n",
    "coloured returns": b"\x1b[32mok\x1b[0m \rtest one passed\n",
    "returns before newlines": b"\r\n",
    "reverse line feeds": b"\x1bMx",
    "resets": b"\x1bcx",
    "escapes alone": b"\x1b",
    "escapes of nothing": b"\x1b\x1bx",
    "broken sequences": b"\x1b[1;\x01",
    "command strings": b"\x1b]\n",
    "titles": b"\x1b]0;t\x07",
    "character sets": b"\x1b(B",
    "links": b"\x1b]8;;http://a\x07x\x1b]8;;\x07",
    "modes": b"\x1b[?25lx\r",
    "colours": b"\x1b[31mx",
    "small frames": b"a\nb\x1b[A\r",
    "smallest frames": b"a\n\x1b[A",
    "frames of empty lines": b"a" + b"\n" * 7 + b"\x1b[7A\x1b[G",
    "scroll regions": b"\x1b[2;5r\n\n\n\nx",
    "newlines in one scroll region": b"\x1b[2;5r" + b"\n" * 4000,
    "long lines written over": b"x" * 60_000 + b"\ry\x1b[C",
    "invalid UTF-8": b"\xffx\r",
}


def _mixed(seed: int) -> bytes:
    """All control functions with all kinds of numbers, and text."""
    chance = random.Random(seed)
    pieces = [
        b"\x1b[%b%c" % (numbers, final)
        for numbers in (b"", b"2", b"9", b"500", b"9999", b"1;3")
        for final in b"@ABCDEFGHIJKLMPSTXZ`abdefghlmnrsu"
    ]
    pieces += [b"x", b"\n", b"\r", b"\t", b"\b", b"\x1b7", b"\x1b8", b"\x1bM", b"\x1bD", b"text"]
    return b"".join(chance.choices(pieces, k=SIZE // 3))[:SIZE]


def _random(seed: int) -> bytes:
    chance = random.Random(seed)
    pieces = [b"\x1b[", b"\x1b", b"9", b"1000", b";", b"\n", b"\r", b"\t", b"\b", "é中".encode()]
    pieces += [bytes([code]) for code in b"ABCDEFGHJKLMPX@`adefrsumx78"]
    return b"".join(chance.choices(pieces, k=SIZE))[:SIZE]


def _cost(data: bytes) -> float:
    terminal, began = Terminal(), time.thread_time()
    for start in range(0, len(data), 16 << 10):
        terminal.settle(data[start : start + (16 << 10)])
    terminal.settle_rest()
    return time.thread_time() - began


def _ratio(data: bytes) -> float:
    """Return how many times as much as coloured text these bytes cost: the least of a few times."""
    text = coloured(SIZE)[:SIZE]
    ratio = float("inf")
    for _ in range(TRIES):
        ratio = min(ratio, _cost(data) / _cost(text))
        if ratio < RATIO:
            break
    return ratio


@pytest.mark.parametrize("name", ATTACKS)
def test_sequences_that_request_much_work_are_clamped(name: str) -> None:
    piece = ATTACKS[name]
    assert _ratio((piece * (SIZE // len(piece) + 1))[:SIZE]) < RATIO


@pytest.mark.parametrize("make", [_mixed, _random])
@pytest.mark.parametrize("seed", range(2))
def test_random_sequences_are_not_more_expensive(make: Callable[[int], bytes], seed: int) -> None:
    assert _ratio(make(seed)) < RATIO


def test_a_log_says_where_functions_are_left_out() -> None:
    terminal = Terminal()
    text = b"".join(terminal.settle(b"\x1b[A\x1b[Bx\b\n").text for _ in range(20_000))
    text += terminal.settle(b"all of this text is there\n").text + terminal.settle_rest().text
    assert text.count(b"more cursor movements than are followed") == 1
    assert b"all of this text is there\n" in text


def test_a_spinner_may_turn_for_a_quarter_of_an_hour() -> None:
    terminal = Terminal()
    for number in range(9_000):
        terminal.settle(b"\b" + b"|/-\\"[number % 4 :][:1])
    assert terminal.settle_rest().text == b"\\\n"


def test_a_missing_carriage_return_is_searched_for_once() -> None:
    for start in (b"\r\nx", b"\n\r\n", b"\r\n\r\nx\bx\r\n", b"\r"):
        terminal = Terminal()
        terminal.settle(b"\x1b[mx\n" + start)
        terminal.settle(start * 3)
        terminal.settle_rest()
