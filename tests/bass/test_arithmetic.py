"""Arithmetic with two operands means the same however they are written."""

from __future__ import annotations

import itertools

import pytest

from bassloop import bass
from bassloop.bass.embedding import immediate_session, run_now

SIGNS = ("+", "-", "<", ">", "<=", ">=", "=")
VALUES = ("0", "1", "-7", str(2**63 - 1), str(-(2**63)), '"1"', "true", "null")


class Nothing(bass.Host):
    """A host that can do nothing."""


def outcome(program: str) -> str:
    """Return the value of a program, or that it fails."""
    session = immediate_session(Nothing(), bass.Budget())
    try:
        return bass.show(run_now(session.evaluate(program, "program", bass.HostPath("."))))
    except bass.BassError:
        return "an error"


@pytest.mark.parametrize("sign", SIGNS)
def test_an_operand_may_be_written_as_a_number_a_parameter_or_a_call(sign: str) -> None:
    for first, second in itertools.product(VALUES, repeat=2):
        want = outcome(f"(apply {sign} [{first} {second}])")
        for a, b in itertools.product((first, "a", "(id a)"), (second, "b", "(id b)")):
            program = f"((fn [a b] ({sign} {a} {b})) {first} {second})"
            assert outcome(program) == want, program


def test_an_operator_that_is_bound_again_has_its_new_meaning() -> None:
    assert outcome("(let [- +] (- 1 2))") == "3"
    assert outcome("(defn less [n] (- n 1)) (less 1) (def - +) (less 1)") == "2"


def test_only_symbols_are_looked_up_as_names() -> None:
    assert outcome("((id (fn [n] (+ n 1))) 1)") == "2"
    assert (
        outcome('(let [s (assoc {} (string->symbol "") (fn [n] 0))] (eval [(fn [n] 1) 5] s))')
        == "1"
    )
