"""`bassloop lsp`, as editors talk with it: a process, and the protocol over its pipes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from .client import WAIT, Editor, Refused

if TYPE_CHECKING:
    from collections.abc import Iterator

SCRIPT = """\
(use (.strings) (*dir*/lib.bass))

; greets somebody
(defn greet [name]
  (strings:join " " ["hello" name]))

(greet (lib:shout "you"))
"""
LIB = """\
(provide [shout]
  ; in capital letters
  (defn shout [text] text))
"""


@pytest.fixture
def editor(tmp_path: Path) -> Iterator[Editor]:
    (tmp_path / "lib.bass").write_text(LIB)
    made = Editor(tmp_path)
    yield made
    made.drop()


def place(text: str, part: str, inside: int = 1) -> tuple[int, int]:
    """The line and column of a part of a text, a bit inside of it."""
    at = text.index(part) + inside
    return text.count("\n", 0, at), at - (text.rfind("\n", 0, at) + 1)


def names(completed: dict[str, Any]) -> set[str]:
    return {item["label"] for item in completed["items"]}


def marked(text: str, found: dict[str, Any]) -> str:
    """The part of a text that a range covers."""
    lines = text.splitlines(keepends=True)
    start, end = found["start"], found["end"]
    assert start["line"] == end["line"]
    return lines[start["line"]][start["character"] : end["character"]]


def test_a_session_works_from_the_first_key_to_the_last(editor: Editor) -> None:
    uri = editor.open("main.bass", SCRIPT)
    assert editor.diagnostics(uri) == []

    # Somebody misspells a name: it is marked, with what was meant.
    misspelt = SCRIPT.replace("(greet (lib", "(great (lib")
    (problem,) = editor.diagnostics(uri, editor.change(uri, misspelt))
    assert problem["message"] == "unbound symbol: great (did you mean greet?)"
    assert marked(misspelt, problem["range"]) == "great"
    assert problem["severity"] == 2

    # In the middle of typing, a bracket is missing, and completion works nevertheless.
    typing = SCRIPT + "(strings:"
    (problem,) = editor.diagnostics(uri, editor.change(uri, typing))
    assert (problem["severity"], marked(typing, problem["range"])) == (1, "(")
    completed = editor.ask("completion", uri, *place(typing, "\n(strings:", 10))
    assert "upper-case" in names(completed)
    (item,) = (each for each in completed["items"] if each["label"] == "upper-case")
    assert item["textEdit"]["newText"] == "upper-case"
    assert item["detail"] == "(strings:upper-case str)"
    assert marked(typing, item["textEdit"]["range"]) == ""

    editor.change(uri, SCRIPT + "(lib:sh")
    assert names(editor.ask("completion", uri, 7, 7)) == {"shout"}

    # What a name means, here and in the file that is used.
    editor.change(uri, SCRIPT)
    hover = editor.ask("hover", uri, *place(SCRIPT, "(greet (lib", 2))
    assert hover["contents"]["value"].startswith("```clojure\n(greet name)\n```")
    assert "greets somebody" in hover["contents"]["value"]
    assert marked(SCRIPT, hover["range"]) == "greet"
    hover = editor.ask("hover", uri, *place(SCRIPT, "lib:shout", 5))
    assert "in capital letters" in hover["contents"]["value"]
    assert editor.ask("hover", uri, 1, 0) is None

    # Where it is defined.
    found = editor.ask("definition", uri, *place(SCRIPT, "(greet (lib", 2))
    assert (found["uri"], marked(SCRIPT, found["range"])) == (uri, "greet")
    assert found["range"]["start"]["line"] == 3
    found = editor.ask("definition", uri, *place(SCRIPT, "lib:shout", 5))
    assert (found["uri"], marked(LIB, found["range"])) == (editor.uri("lib.bass"), "shout")
    assert found["range"]["start"]["line"] == 2
    found = editor.ask("definition", uri, *place(SCRIPT, "strings:join", 10))
    assert found["uri"].endswith("/std/strings.bass")
    std = Path(found["uri"].removeprefix("file://")).read_text()
    assert marked(std, found["range"]) == "join"
    assert editor.ask("definition", uri, *place(SCRIPT, "defn")) is None

    # How it is called, and where else it is.
    help_ = editor.ask("signatureHelp", uri, *place(SCRIPT, '" " ["hello"', 0))
    (signature,) = help_["signatures"]
    assert signature["label"] == "(strings:join delim strs)"
    start, end = signature["parameters"][help_["activeParameter"]]["label"]
    assert signature["label"][start:end] == "delim"
    at = dict(zip(("line", "character"), place(SCRIPT, "name]"), strict=True))
    found = editor.request(
        "textDocument/references",
        textDocument={"uri": uri},
        position=at,
        context={"includeDeclaration": False},
    )
    assert [marked(SCRIPT, each["range"]) for each in found] == ["name"]
    assert len(editor.ask("documentHighlight", uri, at["line"], at["character"])) == 2

    symbols = editor.request("textDocument/documentSymbol", textDocument={"uri": uri})
    assert [(each["name"], each.get("detail")) for each in symbols] == [
        ("strings", None),
        ("lib", None),
        ("greet", "[name]"),
    ]

    editor.notify("textDocument/didClose", textDocument={"uri": uri})
    assert editor.diagnostics(uri) == []
    assert editor.close() == (0, "")


def test_errors_are_shown_when_typing_pauses(editor: Editor) -> None:
    uri = editor.open("main.bass", "")
    assert editor.diagnostics(uri) == []
    typed = "(map first [[1]"
    version = editor.change(uri, *(typed[:end] for end in range(1, len(typed))))
    # Of the texts in between hardly one is told of: none but those after which somebody dawdled.
    told = [editor._published.get(timeout=WAIT)]
    while told[-1]["version"] != version:
        told.append(editor._published.get(timeout=WAIT))
    assert len(told[-1]["diagnostics"]) == 1
    assert len(told) < version // 2


def test_an_edited_file_is_used_as_it_is_in_the_editor(editor: Editor) -> None:
    uri = editor.open("main.bass", "(use (*dir*/lib.bass)) (lib:wrong nope)")
    assert editor.diagnostics(uri) == []
    lib = editor.open("lib.bass", "(defn wrong [x] x)")
    editor.notify("textDocument/didSave", textDocument={"uri": lib})
    (problem,) = editor.diagnostics(uri)
    assert problem["message"] == "unbound symbol: nope"


def test_a_text_without_a_file_is_served(editor: Editor) -> None:
    editor.notify(
        "textDocument/didOpen",
        textDocument={"uri": "untitled:1", "languageId": "bass", "version": 1, "text": "(nope)"},
    )
    (problem,) = editor.diagnostics("untitled:1")
    assert problem["message"] == "unbound symbol: nope"
    assert editor.ask("definition", "untitled:1", 0, 2) is None


@pytest.mark.parametrize(
    ("encodings", "column"), [(None, 7), (["utf-16"], 7), (["utf-8"], 10), (["utf-32"], 6)]
)
def test_columns_are_counted_as_the_editor_counts(
    tmp_path: Path, encodings: list[str] | None, column: int
) -> None:
    editor = Editor(tmp_path, encodings)
    uri = editor.open("main.bass", '"é😀" (nope)')
    (problem,) = editor.diagnostics(uri)
    assert problem["range"]["start"] == {"line": 0, "character": column}
    editor.drop()


def test_a_long_and_broken_text_is_answered(editor: Editor) -> None:
    text = "(defn f [x] (+ x 1))\n" * 5_000 + "(f " * 2_000
    uri = editor.open("main.bass", text)
    (problem,) = editor.diagnostics(uri)
    assert "never closed" in problem["message"]
    assert "f" in names(editor.ask("completion", uri, 5_000, 300))
    nested = "(def a " * 3_000 + "1" + ")" * 3_000
    editor.change(uri, nested)
    editor.request("textDocument/documentSymbol", textDocument={"uri": uri})
    assert editor.close() == (0, "")


def test_the_language_server_does_not_import_trio() -> None:
    code = "import sys, bassloop.tools.lsp.server; sys.exit('trio' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_name_is_renamed_and_a_file_is_formatted(editor: Editor) -> None:
    uri = editor.open("main.bass", SCRIPT)
    at = dict(zip(("line", "character"), place(SCRIPT, "greet [name"), strict=True))
    where = {"textDocument": {"uri": uri}, "position": at}
    span = editor.request("textDocument/prepareRename", **where)
    assert marked(SCRIPT, span) == "greet"
    edit = editor.request("textDocument/rename", **where, newName="welcome")
    edits = edit["changes"][uri]
    assert [marked(SCRIPT, each["range"]) for each in edits] == ["greet", "greet"]
    with pytest.raises(Refused, match="means something else"):
        editor.request("textDocument/rename", **where, newName="lib")
    untidy = SCRIPT.replace("  (strings:join", "         (strings:join")
    editor.change(uri, untidy)
    [whole] = editor.request(
        "textDocument/formatting",
        textDocument={"uri": uri},
        options={"tabSize": 2, "insertSpaces": True},
    )
    assert whole["newText"] == SCRIPT
