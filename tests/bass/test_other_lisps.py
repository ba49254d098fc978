"""Names from other Lisps: an error says what they are called in Bass."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from bassloop import bass
from bassloop.bass.builtins import ground
from bassloop.bass.errors import OTHER_LISPS, in_bass, render
from bassloop.tools.linting import lint_bass

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("text", "instead"),
    [
        ("(lambda (x) x)", "that is fn"),
        ("(define x 1)", "that is def, or defn for a function"),
        ("(car [1 2])", "that is first"),
        ("'(a b)", "that is (quote form)"),
        ("'a", "that is (quote a)"),
        ("`(a ,b)", "that is list and conj, which make forms"),
        ("(id nil)", "that is null"),
    ],
)
def test_a_name_from_another_lisp_is_translated(text: str, instead: str) -> None:
    with pytest.raises(bass.BassError) as caught:
        bass.run_now(bass.immediate_session(bass.Host()).evaluate(text, "x", None))
    assert f"in Bass, {instead}" in render(caught.value)
    assert any(f"(in Bass, {instead}" in str(found) for found in lint_bass(text, "x"))


def test_dividing_with_the_root_folder_suggests_the_function_for_it() -> None:
    with pytest.raises(bass.BassError, match="/ is the root folder; the quotient is"):
        bass.run_now(bass.immediate_session(bass.Host()).evaluate("(/ 6 2)", "x", None))


def test_no_name_that_bass_binds_is_translated() -> None:
    assert not OTHER_LISPS.keys() & {str(name) for name in ground().names()}


def test_the_documentation_has_a_table_of_the_translations() -> None:
    page = (ROOT / "docs" / "bass.md").read_text()
    section = page.partition("## If you know another Lisp")[2].partition("\n## ")[0]
    names = [
        name
        for row in re.findall(r"^\| (`.*?) \|", section, re.MULTILINE)
        for name in re.findall("`([^`]+)`", row)
    ]
    assert len(names) > 20
    assert [name for name in names if in_bass(name) is None] == []
