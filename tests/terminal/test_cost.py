"""No bytes cost much more than others: whoever sends a log must not hold up the loop with it."""

from __future__ import annotations

import random
import time

import pytest

from bassloop.terminal import Terminal

SIZE = 128 << 10
SECONDS = 1.2
"""For `SIZE` bytes: about three times what the slowest took where this was measured, on a busy machine."""

ATTACKS = {
    "inserted lines": b"\x1b[1000L",
    "deleted lines": b"\x1b[1000M",
    "far positions": b"\x1b[500;500H",
    "inserted columns": b"x\r\x1b[1000@",
    "erased screens": b"\x1b[2J",
    "far columns": b"\x1b[9999Gx\n",
    "far wide characters": b"\x1b[9999G" + "中".encode() + b"\n",
    "columns, then text": b"\x1b[400Cx\x1b[400Dy\n",
    "text, then wide characters": b"\x1b[400Cx" + "中".encode() + b"\r",
    "erased far columns": b"\x1b[512Gx\x1b[1G\x1b[X\n",
    "vertical tabs": b"x\x0b",
    "index": b"\x1bDx",
    "tabs over text": b"x\ty\rz\t\n",
    "saved and restored": b"\x1b7x\x1b8",
    "backspaces": b"x\b\b",
    "returns": b"\x1b[32mok\x1b[0m \rtest one passed\n",
    "returns before newlines": b"\r\n",
    "reverse line feeds": b"\x1bMx",
    "resets": b"\x1bcx",
}


def _cost(data: bytes) -> float:
    terminal, began = Terminal(), time.process_time()
    for start in range(0, len(data), 32 << 10):
        terminal.settle(data[start : start + (32 << 10)])
    terminal.settle_rest()
    return time.process_time() - began


@pytest.mark.parametrize("name", ATTACKS)
def test_sequences_that_ask_for_much_work_do_not_get_it(name: str) -> None:
    piece = ATTACKS[name]
    assert _cost((piece * (SIZE // len(piece) + 1))[:SIZE]) < SECONDS


@pytest.mark.parametrize("seed", range(5))
def test_random_sequences_are_no_dearer(seed: int) -> None:
    chance = random.Random(seed)
    pieces = [b"\x1b[", b"\x1b", b"9", b"1000", b";", b"\n", b"\r", b"\t", b"\b", "é中".encode()]
    pieces += [bytes([code]) for code in b"ABCDEFGHJKLMPX@`adefrsumx78"]
    data = b"".join(chance.choices(pieces, k=SIZE))[:SIZE]
    assert _cost(data) < SECONDS


def test_a_return_that_is_not_there_is_looked_for_once() -> None:
    for start in (b"\r\nx", b"\n\r\n", b"\r\n\r\nx\bx\r\n", b"\r"):
        terminal = Terminal()
        terminal.settle(b"\x1b[mx\n" + start)
        terminal.settle(start * 3)
        terminal.settle_rest()
