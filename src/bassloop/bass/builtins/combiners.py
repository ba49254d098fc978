"""Making combiners of patterns and bodies, and putting them in and out of applicatives."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bassloop.bass import arguments, errors
from bassloop.bass.bindings import binder, parameters
from bassloop.bass.builtins.control import bound_form, sequence
from bassloop.bass.combiner import Again, Applicative, Builtin, Operative, Wrapped
from bassloop.bass.compiler import body_code
from bassloop.bass.errors import BassError
from bassloop.bass.pair import Pair, from_list, plain
from bassloop.bass.registry import TABLE, builtin, special
from bassloop.bass.special import guarded
from bassloop.bass.symbol import Symbol
from bassloop.bass.values import IGNORE

if TYPE_CHECKING:
    from bassloop.bass.combiner import Plan
    from bassloop.bass.machine import Machine
    from bassloop.bass.scope import Scope
    from bassloop.bass.special import Combination
    from bassloop.bass.values import Code, Value

_DO = Builtin("do", Symbol("body"), sequence, 0, None, operative=True)
"""Stands at the head of a body of several forms, as such a body prints."""


def _plan(formals: Value, scope_formal: Value, forms: list[Value]) -> tuple[Plan, Value]:
    """An operative's compiled parts, and its body as one form."""
    if not forms:
        raise errors.bad_syntax(f"a combiner needs a body: {errors.brief(formals)} has none")
    body = forms[0] if len(forms) == 1 else Pair(_DO, from_list(forms))
    run: Code | None = None

    def lazily(scope: Scope, machine: Machine) -> Value:
        nonlocal run
        if run is None:
            run = body_code(forms)
        return run(scope, machine)

    ignored = plain(scope_formal) is IGNORE
    names = parameters(formals) if ignored else None
    return (names, binder(formals), None if ignored else binder(scope_formal), lazily), body


def make_operative(
    formals: Value, scope_formal: Value, forms: list[Value], scope: Scope, machine: Machine
) -> Operative:
    """The operative of patterns and a body, closed over a scope."""
    plan, body = _plan(formals, scope_formal, forms)
    return _operative(formals, scope_formal, body, plan, scope, machine)


def _operative(
    formals: Value, scope_formal: Value, body: Value, plan: Plan, scope: Scope, machine: Machine
) -> Operative:
    if plan[0] is not None:
        for name in plan[0]:
            if name in TABLE:
                machine.rebound.add(name)
    return Operative(formals, scope_formal, body, scope, plan)


@builtin(
    "op", "[formals eformal & body]",
    """makes an operative: a combiner that takes its operands as they are written

    `formals` is the pattern for the list of operands, `eformal` the pattern for the scope of the caller.

    => ((op [form] scope [form (eval form scope)]) (* 6 7))""",
    operative=True, indent=True,
)  # fmt: skip
def op(args: list[Value], scope: Scope, machine: Machine) -> Value:
    return make_operative(args[0], args[1], args[2:], scope, machine)


@builtin(
    "fn", "[formals & body]",
    """makes a function: a combiner that evaluates its operands

    => ((fn [x y] (* x y)) 6 7)

    => ((fn args (length args)) :a :b :c)""",
    operative=True, indent=True,
)  # fmt: skip
def fn(args: list[Value], scope: Scope, machine: Machine) -> Value:
    return Wrapped(make_operative(args[0], IGNORE, args[1:], scope, machine))


@builtin(
    "defop", "[name formals eformal & body]",
    """makes an operative and binds it to a name, which it returns

    A comment before it becomes its documentation.

    => (do (defop twice [form] scope (do (eval form scope) (eval form scope))) (twice (log "hey")))""",
    operative=True, indent=True,
)  # fmt: skip
def defop(args: list[Value], scope: Scope, machine: Machine) -> Value:
    return _bind(
        args[0], make_operative(args[1], args[2], args[3:], scope, machine), scope, machine
    )


@builtin(
    "defn", "[name formals & body]",
    """makes a function and binds it to a name, which it returns

    A comment before it becomes its documentation.

    => (do (defn double [x] (* x 2)) (double 21))""",
    operative=True, indent=True,
)  # fmt: skip
def defn(args: list[Value], scope: Scope, machine: Machine) -> Value:
    function = Wrapped(make_operative(args[1], IGNORE, args[2:], scope, machine))
    return _bind(args[0], function, scope, machine)


def _bind(pattern: Value, value: Value, scope: Scope, machine: Machine) -> Value:
    failure = binder(pattern)(scope, value, machine)
    if failure is not None:
        raise failure.error()
    return bound_form(pattern)


@special("op", "fn", "defop", "defn")
def _combiner(call: Combination) -> Code | None:
    """Compiled once where it is written, however often it is evaluated."""
    members = list(call.members)
    try:
        pattern = members.pop(0) if call.name.startswith("def") else None
        bind = None if pattern is None else binder(pattern)
        formals = members.pop(0)
        is_function = call.name.endswith("fn")
        scope_formal = IGNORE if is_function else members.pop(0)
        plan, body = _plan(formals, scope_formal, members)
    except BassError:
        return None
    result = bound_form(pattern)

    def run(scope: Scope, machine: Machine) -> Value:
        made: Value = _operative(formals, scope_formal, body, plan, scope, machine)
        if is_function:
            made = Wrapped(made)
        if bind is None:
            return made
        failure = bind(scope, made, machine)
        if failure is not None:
            raise failure.error()
        return result

    return guarded(call, run)


@builtin(
    "wrap", "[comb]",
    """makes an applicative of a combiner: it evaluates its operands before the combiner gets them

    => ((wrap quote) (* 6 7))""",
)  # fmt: skip
def wrap(args: list[Value], scope: Scope, machine: Machine) -> Value:
    inside = arguments.combiner(args[0], "wrap")
    return Wrapped(Again(inside) if isinstance(inside, Applicative) else inside)


@builtin(
    "unwrap", "[app]", "the combiner inside an applicative, which takes its operands as they come"
)
def unwrap(args: list[Value], scope: Scope, machine: Machine) -> Value:
    return arguments.applicative(args[0], "unwrap").unwrap()
