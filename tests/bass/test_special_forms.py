"""A special form means the same whether a call of it is compiled by name or made through a value."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bassloop import bass
from bassloop.bass import reference
from bassloop.bass.builtins import ground
from bassloop.bass.registry import TABLE

ground()  # which fills the table
EXAMPLES = [
    (name, example)
    for name, definition in TABLE.items()
    if definition.compiler is not None
    for example in reference.paragraphs_of(definition.doc)[1]
]


class Silent(bass.Host):
    """A host that grants nothing."""


def outcome(program: str, *, shortcuts: bool = True) -> str:
    """Return the value of a program, or the message of its error. Without shortcuts, each builtin is looked up."""
    session = bass.immediate_session(Silent())
    scope = session.scope(bass.HostPath("."))
    scope.grounded = shortcuts
    try:
        return bass.show(bass.run_now(session.evaluate(program, "program", None, scope=scope)))
    except bass.BassError as error:
        return error.message


@pytest.mark.parametrize(("name", "example"), EXAMPLES)
def test_an_example_means_the_same_through_a_value(name: str, example: str) -> None:
    through_a_value = example.replace(f"({name} ", "(same-form ")
    assert through_a_value != example
    assert outcome(f"(let [same-form {name}] {through_a_value})") == outcome(example)


@pytest.mark.parametrize(
    "program",
    [
        "(SELF 1 (quote [x]) :list :rest)",
        "(SELF (quote [1 2]) [x] :one [x y] [y x])",
        "(SELF 3 1 :one :bare-pattern)",
        "(SELF true)",
        "(SELF [x 1 y] x)",
        "(SELF)",
    ],
)
@pytest.mark.parametrize("name", sorted({name for name, _ in EXAMPLES}))
def test_an_unusual_call_means_the_same_through_a_value(name: str, program: str) -> None:
    by_name, by_value = program.replace("SELF", name), program.replace("SELF", "same-form")
    assert outcome(f"(let [x 5 same-form {name}] {by_value})") == outcome(f"(let [x 5] {by_name})")


def test_programs_mean_the_same_without_shortcuts_for_builtins() -> None:
    lines = (Path(__file__).parent / "programs.jsonl").read_text().splitlines()
    for program in (json.loads(line)["program"] for line in lines):
        assert outcome(program, shortcuts=False) == outcome(program), program


@pytest.mark.parametrize("name", ["if", "do", "or", "and", "when", "cond"])
def test_code_that_has_already_run_uses_a_names_new_binding(name: str) -> None:
    call = f"(defn call [] ({name} true 1 2))"
    assert outcome(f"{call} (call) (def {name} (fn args :mine)) (call)") == "mine"


@pytest.mark.parametrize("name", ["if", "log", "+"])
def test_a_program_that_embeds_the_language_can_bind_a_builtins_name(name: str) -> None:
    session = bass.immediate_session(Silent())
    own = bass.builtin(name, "args", lambda *args: "mine")
    scope = session.scope(bass.DirPath("."), bindings={name: own})
    text = f"({name} 1 2 3)"
    assert bass.run_now(session.evaluate(text, "program", None, scope=scope)) == "mine"
