"""Any bytes, split in any way, result in the same text, in bounded memory."""

from __future__ import annotations

import itertools
import time
import tracemalloc

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from bassloop.terminal import Terminal, control_parser, render_html, restyle, strip
from bassloop.terminal.row import ROW_LIMIT

from .streams import ERASURES, LOOKS, MOVES, ODDITIES, TEXT, frames, lines, settled, streams

ANY = st.one_of(
    streams(TEXT, LOOKS, MOVES, ERASURES, ODDITIES),
    streams(TEXT, LOOKS, (b"\r", b"\n", b"\x1b[K", b"\x1b[2K", b"\x1b[A", b"\x1b[1G")),
    streams(TEXT, (b"\n", b"\r\n", b"\r"), ODDITIES),
    frames(),
    st.binary(max_size=80),
)


@given(ANY, st.lists(st.integers(0, 300), max_size=8))
@example(b"\x1b[31m\r\x1b[31m", [])
@example(b"\t\r\x1b[31m\x1b[K", [])
@example(b"\x1b[1Z\xcc\x14\x89\x1b[9\xfe9X\x1b[X\x1b[G\xff", [6])
@example(b"\xd2\xee}\xd1\x81\x1b[L2@\x1bM\x0cu\x8a\xc8\x1b\x80\xb5 999@\x00", [14])
@example(b"yP\xc6\x1b[\xa9\x85\xcfHE", [6])
@example(b"\x1b[1m\xe4\xb8\x1b[?25l\x1b[?25h\x9b\n", [7])
@example(b"\x1b[1m\xf0\x1b[?25l\x9f\x98\x80\xc3\x1b[?25l\xa9\n", [5])
def test_splitting_the_bytes_changes_nothing(data: bytes, cuts: list[int]) -> None:
    edges = [0, *sorted({min(cut, len(data)) for cut in cuts}), len(data)]
    whole = settled([data])
    assert settled(data[a:b] for a, b in itertools.pairwise(edges)) == whole
    assert settled(data[at : at + 1] for at in range(len(data))) == whole


@given(ANY, st.lists(st.integers(0, 300), max_size=8), st.integers(0, 12), st.integers(1, 30))
@example(b"\r\r\x1b\n", [], 0, 3)
@example(b"\r\r\b\n", [], 0, 3)
@example(b"\x1b[A\x1b[A\xe4\xb8\x1b[A\x9b\n", [11], 0, 30)
@example(b"\x1b[A\x1b[A\xe4\xb8\b\x1b[A\b\x9b\n", [9], 0, 30)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_splitting_changes_nothing_if_functions_are_left_out(
    monkeypatch: pytest.MonkeyPatch, data: bytes, cuts: list[int], free: int, rest: int
) -> None:
    monkeypatch.setattr(control_parser, "FREE_FUNCTIONS", free)
    monkeypatch.setattr(control_parser, "FUNCTION_BYTES", 8)
    monkeypatch.setattr(control_parser, "REST_BYTES", rest)
    edges = [0, *sorted({min(cut, len(data)) for cut in cuts}), len(data)]
    whole = settled([data])
    assert settled(data[a:b] for a, b in itertools.pairwise(edges)) == whole
    assert settled(data[at : at + 1] for at in range(len(data))) == whole


@given(streams(TEXT, LOOKS, (b"\n", b"\t", b"\x1b[K", b"\r\n")))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_text_without_functions_pays_back_their_cost(
    monkeypatch: pytest.MonkeyPatch, data: bytes
) -> None:
    whole = settled([b"\x1b[m", data])
    monkeypatch.setattr(control_parser, "FREE_FUNCTIONS", 0)
    monkeypatch.setattr(control_parser, "REST_BYTES", 20)
    assert settled([b"\x1b[m", data]) == whole


@given(
    st.lists(
        st.sampled_from([b"x" * 40_000, b"\n", b"\r", b"\x1b[31m", b"y", "é".encode(), b"\x1b[A"]),
        max_size=12,
    ),
    st.integers(1, 50_000),
)
@example([b"x" * 40_000, b"x" * 40_000, b"y", b"\n", b"y"], 7)
@settings(max_examples=60)
def test_splitting_long_lines_changes_nothing(tokens: list[bytes], size: int) -> None:
    data = b"".join(tokens)
    assert settled([data]) == settled(data[at : at + size] for at in range(0, len(data), size))


@given(ANY)
def test_settled_lines_contain_no_newline_and_can_all_be_shown(data: bytes) -> None:
    for line in lines(data):
        assert b"\n" not in line
        shown = strip(line)
        assert not set(shown) & {chr(code) for code in range(0x20) if code != 9}
        assert "\x9b" not in shown
        assert "<script" not in render_html(line)
        assert strip(restyle(line).encode()) == shown


@given(streams(TEXT, (b"\n", b"\r\n", b"\t", b"\xff")), st.integers(1, 40))
def test_plain_text_settles_unchanged(data: bytes, size: int) -> None:
    terminal = Terminal(4)
    text = b""
    for at in range(0, len(data), size):
        text += terminal.settle(data[at : at + size]).text
        assert terminal.plain
        assert data.startswith(text)
        shown = data[len(text) : at + size].replace(b"\r\n", b"\n").removesuffix(b"\r")
        assert terminal.screen() == (shown.rstrip(b"\n").split(b"\n") if shown.strip(b"\n") else [])
    assert text + terminal.settle_rest().text == data


def test_the_line_on_which_bytes_arrived_is_known() -> None:
    terminal = Terminal(4)
    assert terminal.settle(b"one\ntwo\n").line == 0
    assert terminal.settle(b"three").line == 2
    assert terminal.settle(b"\n\x1b[31mfour\n").line == 2
    assert terminal.settle(b"five\n" * 10).line == 4
    assert terminal.line == 14


FLOODS = {
    "a line without an end": b"x" * 20_000,
    "a coloured line without an end": b"\x1b[31mx\x1b[32my" * 1500,
    "looks without text": b"\x1b[31m" * 3000,
    "a link without an end": b"\x1b]8;;" + b"http://x" * 8000,
    "a string without an end": b"\x1bP" + b"q" * 20_000,
    "a control sequence without an end": b"\x1b[" + b"1;" * 8000,
    "a returning line without an end": b"\rabc" * 4000,
    "combining characters": b"e" + b"\xcc\x81" * 8000 + b"\r",
    "newlines": b"\n" * 20_000,
    "newlines in colour": b"\x1b[31m" + b"x\n" * 8000,
    "insertions": b"abc\r" + b"\x1b[999@" * 2000,
    "tabs written over": b"\t" * 8000 + b"\rx",
    "a backspace for each character": b"ab\b" * 5000,
    "far columns": b"\x1b[9999Gx\r" * 2000,
    "erasing what is before": b"x" * 4000 + b"\x1b[1K" * 3000,
    "frames that are moved up and up": b"\n" * 9 + b"a\n\x1b[1A" * 2000,
    "frames that become smaller": b"\n\n\x1b[2A"
    + b"".join(b"x" * (100 - n % 100) + b"\ny\n\x1b[2A" for n in range(400)),
    "moving up by a lot": b"\n\n" + b"\x1b[999A" * 4000 + b"a\n" + b"\x1b[999A" * 4000,
    "links": b"\x1b]8;;http://example.test/\x07x" * 600,
    "lines of the screen deleted": b"\x1b[H" + b"\x1b[99M" * 1500,
}


@pytest.mark.parametrize("flood", FLOODS.values(), ids=FLOODS)
def test_a_flood_takes_little_memory_and_time(flood: bytes) -> None:
    terminal = Terminal()
    terminal.settle(b"\x1b[0m")
    begin = time.process_time()
    for _ in range(4):
        terminal.settle(flood)
    spent = time.process_time() - begin
    tracemalloc.start()
    terminal = Terminal()
    out = 0
    for _ in range(6):
        out += len(terminal.settle(flood).text)
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held < 3_000_000
    assert out < 40 * 6 * len(flood)
    assert spent < 2.0, "not in proportion to the bytes"


def test_a_long_plain_line_stays_whole_without_being_kept_in_memory() -> None:
    terminal = Terminal()
    text = terminal.settle(b"short\n").text
    for _ in range(200):
        text += terminal.settle(b"x" * 50_000).text
    assert terminal.plain
    assert len(terminal.screen()[0] if terminal.screen() else b"") <= ROW_LIMIT
    text += terminal.settle(b"\nafter\n").text + terminal.settle_rest().text
    assert text == b"short\n" + b"x" * 10_000_000 + b"\nafter\n"


def test_a_long_line_with_colours_is_cut_and_says_so() -> None:
    found = lines(b"\x1b[31mred\x1b[0m\n" + b"x" * 10_000_000 + b"\nafter\n")
    assert [len(line) < 70_000 for line in found] == [True, True, True]
    assert strip(found[1]).endswith("x … [line cut here: the raw log has all of it]")
    assert found[2] == b"after"


def test_a_long_plain_line_that_ends_in_colour_is_cut_at_the_colour() -> None:
    found, _ = settled([b"x" * 100_000 + b"\x1b[31mred\nnext"])
    first, second = found.splitlines()
    assert first.startswith(b"x" * 100_000)
    assert first.endswith("… [line cut here: the raw log has all of it]".encode())
    assert second == b"next"
