"""The word and the call at a place in a text, whether it is a program or not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bassloop.bass.reader import OpenCall, Word, call_around, indentation, word_before

TEXTS = st.text(alphabet='ab:/$ \n"\\;#()[]{}^é', max_size=60)


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("(map", "map"),
        ("(map ", ""),
        ("(", ""),
        ("(a:b", "a:b"),
        ("[x (f y", "y"),
        ('"done" x', "x"),
        ('"done"', ""),
        ("; over\nx", "x"),
        ("a#b", "a#b"),
    ],
)
def test_the_word_before_the_cursor_is_found(text: str, word: str) -> None:
    assert word_before(text, len(text)) == Word(len(text) - len(word), word)


@pytest.mark.parametrize("text", ['"ma', '"a\\"b', "; ma", "(f) # ma", "#!ma", '"a;', ';"a'])
def test_there_is_no_word_in_strings_and_comments(text: str) -> None:
    assert word_before(text, len(text)) is None


@pytest.mark.parametrize(
    ("text", "columns"),
    [
        ("", 0),
        ("(f", 2),
        ("(f)", 0),
        ("[1", 1),
        ("(let [x 1\n      y 2]", 2),
        ("(let [x 1", 6),
        ('(f "(" ; (', 2),
        ("]](", 4),
    ],
)
def test_the_next_line_is_indented_after_the_open_bracket(text: str, columns: int) -> None:
    assert indentation(text) == columns


@pytest.mark.parametrize(
    ("text", "call"),
    [
        ("(f ", OpenCall(1, 0)),
        ("(f a", OpenCall(1, 0)),
        ("(f a ", OpenCall(1, 1)),
        ("(f (g x) ", OpenCall(1, 1)),
        ("(f (g x)", OpenCall(1, 0)),
        ("(f (g x ", OpenCall(4, 1)),
        ('(f "(" ', OpenCall(1, 1)),
        ("( f a ; (\n ", OpenCall(2, 1)),
        ("(f)", None),
        ("(f", None),
        ("(", None),
        ("(f [a ", None),
        ("x", None),
        ("", None),
    ],
)
def test_the_call_around_the_cursor_is_found(text: str, call: OpenCall | None) -> None:
    assert call_around(text, len(text)) == call
    assert call_around(text + " more)", len(text)) == call


@given(TEXTS, st.integers(0, 60))
def test_any_text_can_be_completed_without_an_error(text: str, at: int) -> None:
    offset = min(at, len(text))
    before = word_before(text, offset)
    if before is not None:
        assert before.end == offset
        assert text[before.start : before.end] == before.text
    call = call_around(text, offset)
    assert call is None or (0 <= call.head < offset and call.operand >= 0)
    assert 0 <= indentation(text) <= len(text) + 2
