"""`bassloop doc`: the meaning of a name, for readers and writers of scripts."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from bassloop import bass
from bassloop.bass import reference

if TYPE_CHECKING:
    from .conftest import Command


def test_a_name_of_ground_is_described_with_its_call_and_examples(bassloop: Command) -> None:
    assert bassloop("doc", "map").stdout == (
        "(map f xs)  function\n"
        "\n"
        "  Returns the list of what a function returns for each member of a list.\n"
        "\n"
        "  => (map (fn [x] (* x 7)) [4 5 6])\n"
    )


def test_an_operative_says_that_it_takes_its_operands_as_written(bassloop: Command) -> None:
    assert "(let bindings & body)  operative" in bassloop("doc", "let").stdout


def test_a_member_of_a_module_says_what_to_load(bassloop: Command) -> None:
    out = bassloop("doc", "strings:join").stdout
    assert out.startswith("(strings:join delim strs)  function\nfrom (use (.strings))\n")
    assert '=> (do (use (.strings)) (strings:join ", " ["Hello" "World"]))' in out


@pytest.mark.parametrize("name", ["strings", ".strings", "strings:"])
def test_a_module_lists_its_members(bassloop: Command, name: str) -> None:
    out = bassloop("doc", name).stdout
    assert out.startswith(".strings\n")
    assert "(strings:upper-case str)" in out


def test_deprecated_names_are_labelled(bassloop: Command) -> None:
    assert "deprecated: Use [concat] instead." in bassloop("doc", "append").stdout


@pytest.mark.parametrize(
    ("asked", "meant"),
    [("maap", "map"), ("join", "strings:join"), ("strings:jion", "strings:join")],
)
def test_an_unknown_name_gets_suggestions(bassloop: Command, asked: str, meant: str) -> None:
    done = bassloop("doc", asked)
    assert (done.returncode, done.stdout) == (1, "")
    assert f"nothing is called {asked}: did you mean" in done.stderr
    assert meant in done.stderr


def test_a_name_unlike_any_other_gets_a_hint_where_to_look(bassloop: Command) -> None:
    done = bassloop("doc", "zzzzzzzzzzz")
    assert done.returncode == 1
    assert "`bassloop doc` lists all names" in done.stderr


def test_every_name_is_listed_on_its_own_line_in_a_pipe(bassloop: Command) -> None:
    out = bassloop("doc").stdout
    lines = {line.strip() for line in out.splitlines()}
    for name in reference.all_names():
        entry = reference.find(name)
        assert entry is not None
        assert any(line.startswith(entry.call) for line in lines), name
    assert "\x1b" not in out
    assert all(line == line.rstrip() for line in out.splitlines())


def test_doc_does_not_import_an_event_loop() -> None:
    code = (
        "import sys\n"
        "from bassloop.cli import cli\n"
        "cli(['doc', 'strings:join'], standalone_mode=False)\n"
        "sys.exit('trio' in sys.modules or 'asyncio' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True)
    assert done.returncode == 0, done.stderr


def test_every_name_of_ground_belongs_to_a_group_and_is_documented() -> None:
    for entry in reference.ground_entries().values():
        assert entry.group in reference.GROUPS, entry.name
        assert entry.paragraphs or entry.examples, entry.name


def test_every_member_of_std_is_documented() -> None:
    for module in reference.module_names():
        for entry in reference.module_entries(module).values():
            assert entry.paragraphs, entry.full_name


def test_examples_are_valid_programs() -> None:
    for name in reference.all_names():
        entry = reference.find(name)
        assert entry is not None
        for example in entry.examples:
            assert bass.read_source(example, name), name
