"""Renaming a name: everywhere it means the same, or not at all."""

from __future__ import annotations

import pytest

from bassloop.tools.lsp.analysis import analyse
from bassloop.tools.lsp.answers import RenameError, rename, renameable


def renamed(text: str, name: str) -> str:
    """The text with the name at the cursor renamed."""
    offset = text.index("|")
    text = text.replace("|", "", 1)
    for span in reversed(rename(analyse(text), offset, name, analyse)):
        text = text[: span.start] + name + text[span.end :]
    return text


@pytest.mark.parametrize(
    ("text", "after"),
    [
        ("(def f|oo 1) (+ foo foo)", "(def bar 1) (+ bar bar)"),
        ("(defn f [x|] (+ x (g x))) (def x 2)", "(defn f [bar] (+ bar (g bar))) (def x 2)"),
        ("(defn f [tag|] ($ echo $tag))", "(defn f [bar] ($ echo $bar))"),
        ("(def x 1) (let [x| 2] (+ x 1)) x", "(def x 1) (let [bar 2] (+ bar 1)) x"),
        ("(provide [foo] (defn foo| [] 1))", "(provide [bar] (defn bar [] 1))"),
    ],
)
def test_a_name_is_renamed_wherever_it_means_the_same(text: str, after: str) -> None:
    assert renamed(text, "bar") == after


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("(def foo| 1) (def bar 2) (+ foo bar)", "bar"),  # taken in the same scope
        ("(def foo| 1) (let [bar 2] (+ foo bar))", "bar"),  # captured by an inner one
        ("(def bar 1) (let [foo| 2] (+ foo bar))", "bar"),  # would capture an outer one
        ("(def foo| 1) (+ foo 1)", "a b"),
        ("(def foo| 1) (+ foo 1)", "(x)"),
        ("(def foo| 1) (+ foo 1)", "1"),
        ("(def foo| 1) (+ foo 1)", ""),
        ("(ma|p 1)", "bar"),  # the language's own
    ],
)
def test_a_name_that_would_mean_something_else_is_refused(text: str, name: str) -> None:
    with pytest.raises(RenameError):
        renamed(text, name)


def test_only_names_that_the_text_binds_can_be_renamed() -> None:
    text = "(def foo 1) (map foo)"
    found = analyse(text)
    assert renameable(found, text.index("foo")) is not None
    assert renameable(found, text.index("map")) is None
    assert renameable(found, 0) is None
