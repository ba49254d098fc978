"""Defining, branching, sequencing, evaluating, raising errors."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bassloop.bass import arguments
from bassloop.bass.combiner import apply_operands, call, unwrap
from bassloop.bass.compile.code import body_code, code
from bassloop.bass.compile.patterns import binder
from bassloop.bass.errors import BassError, bad_syntax, brief
from bassloop.bass.registry import builtin, function, special_form
from bassloop.bass.values import (
    EMPTY,
    Bind,
    Cell,
    Located,
    Object,
    Pair,
    Scope,
    Value,
    end_of,
    from_list,
    plain,
    strip,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bassloop.bass.machine import Code, Machine
    from bassloop.bass.registry import Combination


def truthy(value: Value) -> bool:
    """Return whether a value counts as true: everything but false and null does."""
    value = plain(value)
    return value is not None and value is not False


# --- def ------------------------------------------------------------------------------------------------------------


@special_form("def", "[binding value]")
def define(form: Combination) -> Code:
    """Binds the pattern's names to parts of the value, in the current scope.

    The pattern is a symbol, or a list or scope that destructures the value. Returns the pattern.

    => (def answer 42)

    => (do (def [x & rest] [1 2 3]) rest)

    => (do (def {:a first (:b 7) second} {:a 6}) (* first second))
    """
    pattern, value_form = form.operands
    bind = binder(pattern)
    value = code(value_form)
    result = bound_form(pattern)

    def run(scope: Scope, machine: Machine) -> Value:
        mismatch = bind(scope, value(scope, machine), machine)
        if mismatch is not None:
            raise mismatch.error()
        return result

    return run


def bound_form(pattern: Value) -> Value:
    """Return the value of a `def`: its pattern without comments, in which patterns of scopes are empty."""
    while pattern.__class__ is Located:
        pattern = pattern.form
    if pattern.__class__ is Bind:
        return Bind(())
    if not isinstance(pattern, Cell):
        return pattern
    members: list[Value] = []
    rest = end_of(pattern, members)
    return from_list(
        [bound_form(member) for member in members], rest if rest is EMPTY else bound_form(rest)
    )


# --- if, do, and, or, when, cond ------------------------------------------------------------------------------------


@special_form("if", "[cond yes no]", indent=True, checks_shadowing=True)
def choose(form: Combination) -> Code:
    """Evaluates one of two forms: the second one if the condition is false or null, otherwise the first one.

    => (if (> 7 6) :more :less)
    """
    name, if_shadowed, tail = form.name, form.if_shadowed, form.tail
    condition_form, yes_form, no_form = form.operands
    condition = code(condition_form)
    yes: Code | None = None
    no: Code | None = None

    def run(scope: Scope, machine: Machine) -> Value:
        nonlocal yes, no
        if if_shadowed is not None and (not scope.grounded or name in machine.shadowed):
            return if_shadowed(scope, machine)
        value = condition(scope, machine)
        if value is True or (value is not False and value is not None and truthy(value)):
            if yes is None:
                yes = code(yes_form, tail)
            return yes(scope, machine)
        if no is None:
            no = code(no_form, tail)
        return no(scope, machine)

    return run


@special_form("do", "body")
def sequence(form: Combination) -> Code:
    """Evaluates forms in order, and returns the value of the last one; null if there are none.

    => (do (def x 6) (* x 7))
    """
    return body_code(form.operands, form.tail)


@special_form("or", "conds")
def either(form: Combination) -> Code:
    """Returns the first value that is neither false nor null, or the last value if there is none. Without any, returns
    false.

    Stops evaluating at the value that it returns.

    => (or null :found (error "never evaluated"))
    """
    return _until(True, form)


@special_form("and", "conds")
def every(form: Combination) -> Code:
    """Returns the first value that is false or null, or the last value if there is none. Without any, returns true.

    Stops evaluating at the value that it returns.

    => (and 1 2 3)

    => (and 1 null (error "never evaluated"))
    """
    return _until(False, form)


def _until(wanted: bool, form: Combination) -> Code:
    """Return code that returns the first truthy value (the first falsy one if not `wanted`), or else the last value."""
    if not form.operands:
        return lambda scope, machine: not wanted
    codes = [code(each) for each in form.operands[:-1]]
    last = code(form.operands[-1], form.tail)

    def run(scope: Scope, machine: Machine) -> Value:
        for each in codes:
            value = each(scope, machine)
            if truthy(value) is wanted:
                return value
        return last(scope, machine)

    return run


@special_form("when", "[test & body]", indent=True)
def when(form: Combination) -> Code:
    """Evaluates the body if the test is neither false nor null. Otherwise returns null.

    => (when (> 7 6) (log "it is more") :done)
    """
    test = code(form.operands[0])
    body = body_code(form.operands[1:], form.tail)
    return lambda scope, machine: body(scope, machine) if truthy(test(scope, machine)) else None


@special_form("cond", "clauses", indent=True)
def clauses(form: Combination) -> Code:
    """Evaluates tests in turn, each followed by a form, and then the form of the first test that is neither false nor
    null.

    Returns null if there is none. A last test of `:else` is always true.

    => (let [x 5] (cond (> x 9) :large (> x 3) :middling :else :small))
    """
    tests = [code(each) for each in form.operands[::2]]
    bodies = [code(each, form.tail) for each in form.operands[1::2]]

    def run(scope: Scope, machine: Machine) -> Value:
        for test, body in zip(tests, bodies, strict=False):
            if truthy(test(scope, machine)):
                return body(scope, machine)
        if len(tests) > len(bodies):
            raise bad_syntax(f"cond has no form for its last test, {brief(form.operands[-1])}")
        return None

    return run


# --- eval and friends -------------------------------------------------------------------------------------------------


@function("eval", tail_calls=True)
def evaluate(form: Value, scope: Scope, *, machine: Machine) -> Value:
    """Evaluates a form in a scope.

    => (eval [* :x :y] {:x 6 :y 7})
    """
    if not isinstance(form, Object):
        return form
    return code(strip(form) if form.__class__ is not Located else form, True)(scope, machine)


@builtin("quote", "[form]", operative=True)
def quote(args: list[Value], scope: Scope, machine: Machine) -> Value:
    """Returns the form itself, unevaluated.

    => (quote (+ 1 2))
    """
    return args[0]


@builtin("current-scope", "[]", operative=True)
def current_scope(args: list[Value], scope: Scope, machine: Machine) -> Value:
    """Returns the scope that it is called from.

    => (binds? (current-scope) :map)
    """
    machine.reified += 1
    return scope


@builtin("apply", "[appv arg & opt]", tail_calls=True)
def apply(args: list[Value], scope: Scope, machine: Machine) -> Value:
    """Calls an applicative with a list of arguments, which are not evaluated again.

    A scope to call it in may follow.

    => (apply max [6 42 7])
    """
    inside = unwrap(arguments.applicative(args[0], "apply"))
    inner = arguments.scope(args[2], "apply") if len(args) > 2 else Scope()
    return apply_operands(inside, plain(args[1]), inner, machine)


@builtin("id", "[x]")
def identity(args: list[Value], scope: Scope, machine: Machine) -> Value:
    """Returns its argument.

    => (id 42)
    """
    return args[0]


# --- assert, refute, error ------------------------------------------------------------------------------------------


def _holds(args: list[Value], scope: Scope, machine: Machine) -> tuple[bool, Value]:
    """Return whether a predicate is true of its arguments, and the call with the arguments evaluated."""
    predicate = arguments.applicative(code(args[0])(scope, machine), "assert")
    values = [code(form)(scope, machine) for form in args[1:]]
    return truthy(call(unwrap(predicate), values, machine)), Pair(args[0], from_list(values))


@builtin("assert", "[predicate & args]", operative=True, indent=True)
def assert_(args: list[Value], scope: Scope, machine: Machine) -> Value:
    """Raises an error unless a predicate is true of the arguments. By convention the expected value comes first.

    => (assert = 42 (* 6 7))
    """
    holds, form = _holds(args, scope, machine)
    if not holds:
        raise BassError(lambda: f"assertion failed: {brief(form)}")
    return None


@builtin("refute", "[predicate & args]", operative=True, indent=True)
def refute(args: list[Value], scope: Scope, machine: Machine) -> Value:
    """Raises an error if a predicate is true of the arguments.

    => (refute = 42 (* 6 8))
    """
    holds, form = _holds(args, scope, machine)
    if holds:
        raise BassError(lambda: f"refutation failed: {brief(form)}")
    return None


@function("error")
def error(msg: str, *fields: Value) -> Value:
    """Raises an error with this message.

    Fields may follow, as alternating names and values.

    => (error "cannot find it" :name "it")
    """
    named = fields_of(fields, "error")
    raise BassError(msg, fields=named if named.vars else None)


def fields_of(values: Sequence[Value], where: str) -> Scope:
    """Return a scope of alternating names and values; a last name without a value is left out."""
    pairs = zip(values[::2], values[1::2], strict=False)
    return Scope({arguments.symbol(name, where): value for name, value in pairs})
