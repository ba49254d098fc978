"""The grammars for editors: whole, and with the same forms as the Pygments lexer."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from bassloop.tools.highlighting import FORMS

if TYPE_CHECKING:
    from collections.abc import Iterator

EDITORS = Path(__file__).parents[2] / "editors"
EXTENSION = EDITORS / "vscode"


def grammar() -> dict[str, Any]:
    path = EXTENSION / "syntaxes" / "bass.tmLanguage.json"
    return dict(json.loads(path.read_bytes()))


def rules(rule: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield rule
    for inner in (*rule.get("patterns", ()), *rule.get("repository", {}).values()):
        yield from rules(inner)


def test_every_part_of_the_grammar_exists_and_every_pattern_compiles() -> None:
    textmate = grammar()
    for rule in rules(textmate):
        for name in ("match", "begin", "end"):
            if name in rule:
                re.compile(rule[name])
        if "include" in rule:
            assert rule["include"].removeprefix("#") in textmate["repository"]


def test_a_keyword_of_the_grammar_may_have_dots() -> None:
    keyword = re.compile(grammar()["repository"]["keyword"]["match"])
    for text in (":3.13-slim", ":test-3.12", ":latest"):
        found = keyword.search(f"(linux/python {text})")
        assert found is not None
        assert found[0] == text


@pytest.mark.parametrize("file", ["vscode/syntaxes/bass.tmLanguage.json", "vim/syntax/bass.vim"])
def test_the_grammar_has_the_same_forms_as_the_lexer(file: str) -> None:
    assert "|".join(FORMS) in (EDITORS / file).read_text()


def test_the_extension_names_existing_files() -> None:
    package = json.loads((EXTENSION / "package.json").read_bytes())
    [language] = package["contributes"]["languages"]
    [found] = package["contributes"]["grammars"]
    for name in (package["main"], language["configuration"], found["path"]):
        assert (EXTENSION / name).is_file()
    assert found["scopeName"] == grammar()["scopeName"]
