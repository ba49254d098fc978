"""The formatter: what it makes of Bass, and that it changes no meaning."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import example, given
from hypothesis import strategies as st

from bassloop.bass.errors import BassError
from bassloop.bass.reader import read_source
from bassloop.cli import cli
from bassloop.tools.formatter import format_bass

ROOT = Path(__file__).parents[2]
SCRIPTS = sorted(
    path
    for pattern in ("src/bassloop/bass/std/*.bass", "examples/*/*.bass", "bass/*.bass")
    for path in ROOT.glob(pattern)
)


@pytest.mark.parametrize(
    ("text", "formatted"),
    [
        ("", ""),
        ("(def a    1)\n\n\n\n(def b, 2)", "(def a 1)\n\n(def b 2)\n"),
        ("(defn f [x]\nx)", "(defn f [x]\n  x)\n"),
        ("(use (.git x)\n(.github))", "(use (.git x)\n     (.github))\n"),
        ("(subpath\n(from x)\n./)", "(subpath\n  (from x)\n  ./)\n"),
        ("[a\nb]", "[a\n b]\n"),
        ("{:a 1\n:b 2}", "{:a 1\n :b 2}\n"),
        ("(f a\n)", "(f a)\n"),
        ("(f a ; why\n)", "(f a  ; why\n   )\n"),
        ("(let [a 1\nb 2]\n(+ a b))", "(let [a 1\n      b 2]\n  (+ a b))\n"),
        (";  a comment   \n(f)", ";  a comment\n(f)\n"),
        ('(f "a   b\n  c")', '(f "a   b\n  c")\n'),
        ("^{:a 1}\n(def x 1)", "^{:a 1}\n(def x 1)\n"),
        ("(\nf)", "(f)\n"),
    ],
)
def test_a_text_is_formatted(text: str, formatted: str) -> None:
    assert format_bass(text) == formatted


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_our_own_scripts_are_formatted(path: Path) -> None:
    assert format_bass(path.read_text()) == path.read_text()


WORDS = [
    "(", ")", "[", "]", "{", "}", '"a  b"', '"\n"', "x", ":k", "./a/", "; c\n", " ", "\n", "\n\n\n", ",",
    "^", "1", "$", "fn", "let",
]  # fmt: skip


@given(st.lists(st.sampled_from(WORDS), max_size=40).map("".join))
@example('"a  b",; c\n')
def test_formatting_keeps_the_meaning_and_is_idempotent(text: str) -> None:
    formatted = format_bass(text)
    assert format_bass(formatted) == formatted
    try:
        before = read_source(text, "x")
    except BassError:
        return
    after = read_source(formatted, "x")
    assert [str(form) for form in before] == [str(form) for form in after]
    # A comma is dropped like a space; the reader, as the reference's, takes no comment after one for the form's.
    spaced = read_source(text.replace(",", " "), "x")
    assert [form.comment for form in spaced] == [form.comment for form in after]


@given(st.text(max_size=100))
def test_no_text_raises_an_error(text: str) -> None:
    assert format_bass(format_bass(text)) == format_bass(text)


def test_the_command_formats_files_in_place(tmp_path: Path) -> None:
    script, other = tmp_path / "project.bass", tmp_path / "bass" / "github-hook"
    other.parent.mkdir()
    script.write_text("(def a    1)")
    other.write_text("(def b 1)\n")
    assert CliRunner().invoke(cli, ["fmt", "--check", str(tmp_path)]).exit_code == 1
    assert "-(def a    1)" in CliRunner().invoke(cli, ["fmt", "--diff", str(tmp_path)]).output
    assert script.read_text() == "(def a    1)"
    done = CliRunner().invoke(cli, ["fmt", str(tmp_path)])
    assert (done.exit_code, done.output) == (0, f"formatted {script}\n")
    assert script.read_text() == "(def a 1)\n"
    assert CliRunner().invoke(cli, ["fmt", "--check", str(tmp_path)]).output == ""
    assert CliRunner().invoke(cli, ["fmt", "-"], input="(a\nb)").output == "(a\n  b)\n"


def test_syntax_errors_are_reported_with_their_location(tmp_path: Path) -> None:
    script = tmp_path / "a.bass"
    script.write_text("(def a")
    failed = CliRunner().invoke(cli, ["fmt", str(script)])
    assert failed.exit_code == 1
    assert "( is never closed" in failed.output
    assert script.read_text() == "(def a"


def test_a_link_stays_one_and_its_file_is_formatted(tmp_path: Path) -> None:
    (tmp_path / "real.bass").write_text("(def a    1)")
    link = tmp_path / "folder/link.bass"
    link.parent.mkdir()
    link.symlink_to("../real.bass")
    assert CliRunner().invoke(cli, ["fmt", str(link)]).exit_code == 0
    assert link.is_symlink()
    assert (tmp_path / "real.bass").read_text() == "(def a 1)\n"
