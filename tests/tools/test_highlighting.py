"""The Pygments lexer."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pygments.lexers import get_lexer_by_name
from pygments.token import Error, Keyword, Name, String

from bassloop.tools.highlighting import BassLexer

ROOT = Path(__file__).parents[2]
SCRIPTS = sorted([*ROOT.glob("src/bassloop/bass/std/*.bass"), *ROOT.glob("examples/*/*.bass")])


def test_the_lexer_is_found_by_its_name() -> None:
    assert isinstance(get_lexer_by_name("bass"), BassLexer)


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_real_scripts_have_no_errors(path: Path) -> None:
    assert [text for kind, text in BassLexer().get_tokens(path.read_text()) if kind is Error] == []


def test_words_and_variables_of_a_command_are_highlighted() -> None:
    kinds = {
        text: kind for kind, text in BassLexer().get_tokens('(defn f [x] ($ go test "./..." $x))')
    }
    assert kinds["defn"] is Keyword
    assert kinds["go"] is kinds["test"] is String.Other
    assert kinds["$x"] is Name.Variable


@pytest.mark.parametrize("text", [":3.13-slim", ":test-3.12", ":latest"])
def test_a_keyword_may_have_dots(text: str) -> None:
    assert (String.Symbol, text) in list(BassLexer().get_tokens(f"(linux/python {text})"))


@given(st.text(max_size=100))
def test_every_text_round_trips(text: str) -> None:
    lexer = BassLexer(stripnl=False, ensurenl=False)
    shown = "".join(part for _, part in lexer.get_tokens(text))
    assert shown == text.replace("\r\n", "\n").replace("\r", "\n")
