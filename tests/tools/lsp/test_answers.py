"""Hovers, completions and definitions for editors."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bassloop.tools.lsp import answers
from bassloop.tools.lsp.analysis import Analysis, analyse
from bassloop.tools.lsp.server import Documents
from bassloop.tools.lsp.text_model import Definition, TextSpan

if TYPE_CHECKING:
    from pathlib import Path

CURSOR = "|"


def at_cursor(text: str, **files: str) -> tuple[Analysis, int]:
    """The analysis of a text without its cursor, and where the cursor is; `files` are beside it."""
    offset = text.index(CURSOR)
    loaded = {f"{name}.bass": analyse(content) for name, content in files.items()}
    return analyse(text.replace(CURSOR, "", 1), load=loaded.get), offset


def hover(text: str, **files: str) -> str:
    found = answers.hover(*at_cursor(text, **files))
    return "" if found is None else found[1]


def labels(text: str, **files: str) -> list[str]:
    return [each.label for each in answers.complete(*at_cursor(text, **files))]


def target(text: str, **files: str) -> str:
    """Return the place of the definition: `file:` or `std:`, and the text around it."""
    found, offset = at_cursor(text, **files)
    went = answers.target(found, offset)
    if went is None:
        return ""
    inside = files.get(went.file.removesuffix(".bass"), found.text)
    where = went.std or went.file
    return f"{where}>{inside[went.span.start : went.span.end]}@{went.span.start}"


# --- hover ---


def test_a_name_of_ground_is_described_with_its_call_and_examples() -> None:
    assert hover("(ma|p f [1])") == (
        "```clojure\n(map f xs)\n```\n\n*function*\n\n"
        "Returns the list of what a function returns for each member of a list.\n\n"
        "```clojure\n(map (fn [x] (* x 7)) [4 5 6])\n```"
    )


def test_hovering_over_a_function_of_the_text_shows_its_comment() -> None:
    text = "; adds one\n;\n; => (inc 1)\n(defn inc [x & more] (+ x 1))\n(i|nc 2)"
    assert hover(text) == (
        "```clojure\n(inc x & more)\n```\n\n*function*\n\nadds one\n\n```clojure\n(inc 1)\n```"
    )


def test_hovering_over_a_definition_shows_its_comment() -> None:
    assert hover("; adds one\n(defn i|nc [x] x)") == hover("; adds one\n(defn inc [x] x) (in|c 1)")


def test_a_member_of_a_module_is_described() -> None:
    assert hover("(use (.strings)) (strings:jo|in)").startswith(
        "```clojure\n(strings:join delim strs)"
    )
    assert hover("(use (.strings)) (str|ings:join)").startswith("```clojure\nstrings\n```")
    lib = "; twice as much\n(defn twice [x] (* 2 x))"
    told = hover("(use (*dir*/lib.bass)) (lib:twi|ce 1)", lib=lib)
    assert told == "```clojure\n(lib:twice x)\n```\n\n*function*\n\ntwice as much"


def test_an_alias_is_described_with_its_original() -> None:
    assert hover("(use (.strings)) (def glue strings:join) (gl|ue)").startswith(
        "```clojure\n(glue delim strs)\n```\n\n*function*\n\nJoins strings"
    )


@pytest.mark.parametrize("text", ["(no|pe)", '"ma|p"', "; ma|p", "(map f |)", "|", "1|2"])
def test_hovering_over_anything_else_shows_nothing(text: str) -> None:
    assert hover(text) == ""


# --- completion ---


def test_names_around_the_cursor_and_of_ground_are_offered() -> None:
    offered = labels("(def top 1) (defn f [arg] (let [inner 1] |)) (fn [elsewhere] 1)")
    assert {"top", "f", "arg", "inner", "map", "def"} <= set(offered)
    assert "elsewhere" not in offered
    assert len(offered) == len(set(offered))


def test_members_are_offered_after_a_colon() -> None:
    assert "upper-case" in labels("(use (.strings)) (strings:u|")
    assert labels("(use (*dir*/lib.bass)) (lib:|)", lib="(def one 1) (defn two [] 2)") == [
        "one",
        "two",
    ]
    assert labels("(def box {:a 1 :b {:c 2}}) box:|") == ["a", "b"]
    assert labels("(nothing:|)") == []


def test_only_the_last_part_of_a_word_is_replaced() -> None:
    found, offset = at_cursor("(use (.strings)) (strings:u|")
    span = answers.complete(found, offset)[0].span
    assert found.text[span.start : span.end] == "u"


def test_modules_of_std_are_offered_after_a_dot() -> None:
    assert {".strings", ".git"} <= set(labels("(use (.s|"))


def test_a_word_after_a_dollar_refers_to_a_name() -> None:
    assert "tag" in labels("(defn f [tag] ($ git checkout $t|))")


@pytest.mark.parametrize("text", ['"ma|', "; ma|", "./fo|"])
def test_nothing_is_offered_where_no_name_can_stand(text: str) -> None:
    assert labels(text) == []


# --- definitions ---


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("(def x 1) |x", ">x@5"),
        ("(defn f [x] (+ |x 1))", ">x@9"),
        ("(let [x 1] (let [x 2] |x))", ">x@17"),
        ("(provide [f] (defn f [] 1)) (|f)", ">f@19"),
        ("(defn f [] (g|)) (defn g [] 1)", ">g@22"),
        ("(def {:a x} {}) x|", ">x@9"),
        ("(case 1 [x] |x)", ">x@9"),
        ("(def dir 1) dir|/child", ">dir@5"),
        ("(def box {:a 1}) box:|a", ">a@11"),
        ("(defn f [x] ($ echo $|x))", ">x@9"),
        ("(-> 1 (f |g)) (def g 1)", ">g@18"),
        ("(|map f [])", ""),
        ("(|nope)", ""),
    ],
)
def test_a_name_leads_to_its_definition(text: str, where: str) -> None:
    assert target(text) == where


def test_a_member_leads_to_the_file_that_it_comes_from() -> None:
    lib = "(provide [f] (defn f [] 1))"
    assert target("(use (*dir*/lib.bass)) (lib:|f)", lib=lib) == "lib.bass>f@19"
    assert target("(use (*dir*/li|b.bass))", lib=lib) == "lib.bass>@0"
    assert target("(use (*dir*/lib.bass)) (li|b:f)", lib=lib) == ">*dir*/lib.bass@6"


def test_a_member_of_std_leads_to_std() -> None:
    assert target("(use (.strings)) (strings:j|oin)") == "strings:join>@0"
    assert target("(use (.str|ings))") == "strings>@0"


# --- the places of a name ---


def places(text: str) -> str:
    """The text with every occurrence of the name at the cursor in brackets, its definitions in two."""
    found, offset = at_cursor(text)
    marked = found.text
    for span, bound in reversed(answers.occurrences(found, offset)):
        part = marked[span.start : span.end]
        part = f"<<{part}>>" if bound else f"<{part}>"
        marked = marked[: span.start] + part + marked[span.end :]
    return marked


@pytest.mark.parametrize(
    ("text", "marked"),
    [
        ("(def x 1) (+ |x x)", "(def <<x>> 1) (+ <x> <x>)"),
        ("(def |x 1) (fn [x] x) x", "(def <<x>> 1) (fn [x] x) <x>"),
        ("(def x 1) (fn [x] |x) x", "(def x 1) (fn [<<x>>] <x>) x"),
        ("(provide [f] (def f 1)) |f", "(provide [<<f>>] (def <<f>> 1)) <f>"),
        ("(def x 1) ($ echo $|x x)", "(def <<x>> 1) ($ echo $<x> x)"),
        ("(def m {:a 1}) |m:a (quote m)", "(def <<m>> {:a 1}) <m>:a (quote <m>)"),
        ("(|map f) map", "(map f) map"),
    ],
)
def test_references_to_a_name_are_those_with_the_same_meaning(text: str, marked: str) -> None:
    assert places(text) == marked


# --- calls ---


def called(text: str, **files: str) -> str:
    """The call around the cursor, with the parameter that is being given in brackets."""
    found = answers.signature(*at_cursor(text, **files))
    if found is None:
        return ""
    if not 0 <= found.active < len(found.parameters):
        return found.label
    span = found.parameters[found.active]
    label = found.label
    return f"{label[: span.start]}<{label[span.start : span.end]}>{label[span.end :]}"


@pytest.mark.parametrize(
    ("text", "call"),
    [
        ("(map |", "(map <f> xs)"),
        ("(map inc |", "(map f <xs>)"),
        ("(map inc [1 2]|", "(map f <xs>)"),
        ("(map inc [1 2] |", "(map f xs)"),
        ("(defn f [a [b c] & d] 1) (f 1 |)", "(f a <[b c]> & d)"),
        ("(defn f [a [b c] & d] 1) (f 1 2 3 4 |)", "(f a [b c] & <d>)"),
        ("(use (.strings)) (strings:join |", "(strings:join <delim> strs)"),
        ("(use (.strings)) (def glue strings:join) (glue 1 |", "(glue delim <strs>)"),
        ("(use (*dir*/lib.bass)) (lib:two 1 |)", "(lib:two a <b>)"),
        ("(linux |", "(linux & <args>)"),
        ("(f |", ""),
        ("(def f 1) (f |", ""),
        ("[map |", ""),
        ("((fn [x] x) |", ""),
    ],
)
def test_a_call_shows_its_parameters_as_it_is_written(text: str, call: str) -> None:
    assert called(text, lib="(defn two [a b] a)") == call


# --- outline ---


def test_the_outline_has_definitions_only() -> None:
    text = "(use (.strings)) (provide [f] (defn f [x] (let [y 1] y)) (def [a b] 1)) {:k 1}"
    assert [each.name for each in answers.outline(analyse(text))] == ["strings", "f", "a", "b"]


# --- files ---


def test_files_are_read_again_when_they_have_changed(tmp_path: Path) -> None:
    (tmp_path / "lib.bass").write_text("(defop f [x] s x)")
    documents = Documents(lambda path: None)
    text = "(use (*dir*/lib.bass)) (lib:f nope)"
    assert documents.analysis(text, tmp_path / "main.bass", "").problems == []
    (tmp_path / "lib.bass").write_text("(defn f [x] x)")
    documents.forget()
    (problem,) = documents.analysis(text, tmp_path / "main.bass", "").problems
    assert problem.message == "unbound symbol: nope"


def test_an_open_document_takes_precedence_over_its_file(tmp_path: Path) -> None:
    (tmp_path / "lib.bass").write_text("")
    opened = {tmp_path / "lib.bass": "(def only-typed 1)"}
    documents = Documents(opened.get)
    found = documents.analysis("(use (*dir*/lib.bass)) lib:", tmp_path / "main.bass", "")
    assert [each.label for each in answers.complete(found, 27)] == ["only-typed"]


def test_files_that_use_each_other_are_analysed(tmp_path: Path) -> None:
    (tmp_path / "a.bass").write_text("(use (*dir*/b.bass)) (b:g 1) (defn f [] 1)")
    (tmp_path / "b.bass").write_text("(use (*dir*/a.bass)) (a:f 1) (defn g [x] x)")
    found = Documents(lambda path: None).at(tmp_path / "a.bass")
    assert found is not None
    assert found.problems == []
    for each in range(200):
        (tmp_path / f"m{each}.bass").write_text(f"(use (*dir*/m{each + 1}.bass)) (m{each + 1}:f)")
    assert Documents(lambda path: None).at(tmp_path / "m0.bass") is not None


def test_a_missing_file_is_not_an_error(tmp_path: Path) -> None:
    (tmp_path / "binary.bass").write_bytes(b"\xff\x00")
    for name in ("binary.bass", "missing.bass", "..", "nul\0.bass"):
        text = f"(use (*dir*/{name})) (x:y)"
        Documents(lambda path: None).analysis(text, tmp_path / "main.bass", "")


def test_a_definition_is_listed_with_its_location() -> None:
    found = analyse("(def x 1)")
    (definition,) = found.definitions
    assert isinstance(definition, Definition)
    assert (definition.span, definition.whole) == (TextSpan(5, 6), TextSpan(0, 9))
