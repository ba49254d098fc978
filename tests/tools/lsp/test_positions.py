"""Offsets and the protocol's positions mean the same places."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bassloop.tools.lsp.text_model import Positions

TEXTS = st.text(alphabet="ab\n\r\u2028é😀\t", max_size=30)


@pytest.mark.parametrize(
    ("encoding", "units"),
    [("utf-8", [0, 2, 6, 7]), ("utf-16", [0, 1, 3, 4]), ("utf-32", [0, 1, 2, 3])],
)
def test_columns_are_counted_in_units_of_the_encoding(encoding: str, units: list[int]) -> None:
    positions = Positions("x\né😀x", encoding)
    assert [positions.position(2 + each) for each in range(4)] == [(1, unit) for unit in units]
    assert [positions.offset(1, unit) for unit in units] == [2, 3, 4, 5]


def test_lines_end_as_the_protocol_says() -> None:
    positions = Positions("a\r\nb\rc\nd\u2028e")
    assert [positions.position(each) for each in (0, 3, 5, 7, 9)] == [
        (0, 0), (1, 0), (2, 0), (3, 0), (3, 2),
    ]  # fmt: skip


def test_a_position_inside_a_character_or_after_the_text_has_an_offset() -> None:
    positions = Positions("😀x\nab")
    assert positions.offset(0, 1) == 0
    assert positions.offset(0, 99) == 2
    assert positions.offset(9, 0) == 5
    assert positions.position(99) == (1, 2)


@given(TEXTS, st.sampled_from(["utf-8", "utf-16", "utf-32"]))
def test_positions_and_offsets_are_converted_both_ways(text: str, encoding: str) -> None:
    positions = Positions(text, encoding)
    for offset in range(len(text) + 1):
        if text[offset - 1 : offset + 1] != "\r\n":
            assert positions.offset(*positions.position(offset)) == offset
