"""Defining, branching, sequencing, evaluating."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bassloop.bass import arguments, errors
from bassloop.bass.annotated import Located
from bassloop.bass.bind import Bind
from bassloop.bass.bindings import binder
from bassloop.bass.compiler import body_code, code
from bassloop.bass.errors import BassError
from bassloop.bass.pair import Cell, end_of, from_list, plain
from bassloop.bass.registry import builtin, special
from bassloop.bass.special import guarded
from bassloop.bass.values import EMPTY, Object, strip

if TYPE_CHECKING:
    from bassloop.bass.machine import Machine
    from bassloop.bass.scope import Scope
    from bassloop.bass.special import Combination
    from bassloop.bass.values import Code, Value


def truthy(value: Value) -> bool:
    """Everything is true but false and null."""
    value = plain(value)
    return value is not None and value is not False


# --- def ------------------------------------------------------------------------------------------------------------


@builtin(
    "def", "[binding value]",
    """binds what the pattern names to the value, in the current scope

    The pattern may be a symbol, or a list or scope to take the value apart with. Returns the pattern.

    => (def answer 42)

    => (do (def [x & rest] [1 2 3]) rest)

    => (do (def {:a first (:b 7) second} {:a 6}) (* first second))""",
    operative=True,
)  # fmt: skip
def define(args: list[Value], scope: Scope, machine: Machine) -> Value:
    bind = binder(args[0])
    failure = bind(scope, code(args[1])(scope, machine), machine)
    if failure is not None:
        raise failure.error()
    return bound_form(args[0])


@special("def")
def _define(call: Combination) -> Code | None:
    pattern, form = call.members
    try:
        bind = binder(pattern)
    except BassError:
        return None
    value = code(form)
    result = bound_form(pattern)

    def run(scope: Scope, machine: Machine) -> Value:
        failure = bind(scope, value(scope, machine), machine)
        if failure is not None:
            raise failure.error()
        return result

    return guarded(call, run)


def bound_form(pattern: Value) -> Value:
    """What `def` returns: the pattern, without comments; of a scope's pattern, nothing."""
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


@builtin(
    "if", "[cond yes no]",
    """evaluates one of two forms: the second if the condition is false or null, else the first

    => (if (> 7 6) :more :less)""",
    operative=True, calls=True, indent=True,
)  # fmt: skip
def choose(args: list[Value], scope: Scope, machine: Machine) -> Value:
    holds = truthy(code(args[0])(scope, machine))
    return code(args[1] if holds else args[2], True)(scope, machine)


@special("if")
def _choose(call: Combination) -> Code:
    name, slow, tail = call.name, call.slow, call.tail
    condition = code(call.members[0])
    yes_form, no_form = call.members[1:]
    yes: Code | None = None
    no: Code | None = None

    def run(scope: Scope, machine: Machine) -> Value:
        nonlocal yes, no
        if not scope.grounded or name in machine.rebound:
            return slow(scope, machine)
        value = condition(scope, machine)
        if value is True or (value is not False and value is not None and truthy(value)):
            if yes is None:
                yes = code(yes_form, tail)
            return yes(scope, machine)
        if no is None:
            no = code(no_form, tail)
        return no(scope, machine)

    return run


@builtin(
    "do", "body",
    """evaluates forms in order and returns the value of the last; null if there are none

    => (do (def x 6) (* x 7))""",
    operative=True, calls=True,
)  # fmt: skip
def sequence(args: list[Value], scope: Scope, machine: Machine) -> Value:
    return body_code(args)(scope, machine)


@special("do")
def _sequence(call: Combination) -> Code:
    return guarded(call, body_code(call.members, call.tail))


@builtin(
    "or", "conds",
    """the first value that is neither false nor null; the last one if none is, and false without any

    Evaluates no further than it must.

    => (or null :found (error "never evaluated"))""",
    operative=True, calls=True,
)  # fmt: skip
def either(args: list[Value], scope: Scope, machine: Machine) -> Value:
    for form in args[:-1]:
        value = code(form)(scope, machine)
        if truthy(value):
            return value
    return code(args[-1], True)(scope, machine) if args else False


@builtin(
    "and", "conds",
    """the last value if none is false or null; otherwise the first that is, and true without any

    Evaluates no further than it must.

    => (and 1 2 3)

    => (and 1 null (error "never evaluated"))""",
    operative=True, calls=True,
)  # fmt: skip
def every(args: list[Value], scope: Scope, machine: Machine) -> Value:
    for form in args[:-1]:
        value = code(form)(scope, machine)
        if not truthy(value):
            return value
    return code(args[-1], True)(scope, machine) if args else True


@builtin(
    "when", "[test & body]",
    """evaluates the body if the test holds; otherwise the result is null

    => (when (> 7 6) (log "it is more") :done)""",
    operative=True, calls=True, indent=True,
)  # fmt: skip
def when(args: list[Value], scope: Scope, machine: Machine) -> Value:
    if truthy(code(args[0])(scope, machine)):
        return body_code(args[1:])(scope, machine)
    return None


@special("when")
def _when(call: Combination) -> Code:
    test = code(call.members[0])
    body = body_code(call.members[1:], call.tail)
    return guarded(
        call,
        lambda scope, machine: body(scope, machine) if truthy(test(scope, machine)) else None,
    )


@builtin(
    "cond", "clauses",
    """tests in turn, each followed by a form: evaluates the form of the first test that holds

    The result is null if none does. `:else` does for a last test, as anything that holds would.

    => (let [x 5] (cond (> x 9) :large (> x 3) :middling :else :small))""",
    operative=True, calls=True, indent=True,
)  # fmt: skip
def clauses(args: list[Value], scope: Scope, machine: Machine) -> Value:
    for at in range(0, len(args), 2):
        if at + 1 == len(args):
            raise errors.bad_syntax(f"cond has no form for its last test, {errors.brief(args[at])}")
        if truthy(code(args[at])(scope, machine)):
            return code(args[at + 1], True)(scope, machine)
    return None


# --- eval and friends -------------------------------------------------------------------------------------------------


@builtin(
    "eval", "[form scope]",
    """evaluates a form in a scope

    => (eval [* :x :y] {:x 6 :y 7})""",
    calls=True,
)  # fmt: skip
def evaluate(args: list[Value], scope: Scope, machine: Machine) -> Value:
    inner = arguments.scope(args[1], "eval")
    form = args[0]
    if not isinstance(form, Object):
        return form
    return code(strip(form) if form.__class__ is not Located else form, True)(inner, machine)


@builtin("quote", "[form]", "the form itself, not evaluated\n\n=> (quote (+ 1 2))", operative=True)
def quote(args: list[Value], scope: Scope, machine: Machine) -> Value:
    return args[0]


@builtin(
    "current-scope",
    "[]",
    "the scope it is called from\n\n=> (binds? (current-scope) :map)",
    operative=True,
)
def current_scope(args: list[Value], scope: Scope, machine: Machine) -> Value:
    return scope


@builtin(
    "apply", "[appv arg & opt]",
    """calls what is inside an applicative with a list of arguments, which are not evaluated again

    A scope to call it in may follow.

    => (apply max [6 42 7])""",
    calls=True,
)  # fmt: skip
def apply(args: list[Value], scope: Scope, machine: Machine) -> Value:
    inside = arguments.applicative(args[0], "apply").unwrap()
    if len(args) > 2:
        inner = arguments.scope(args[2], "apply")
    else:
        from bassloop.bass.scope import Scope as NewScope

        inner = NewScope()
    operands = plain(args[1])
    return inside.call(operands, inner, machine)


@builtin("id", "[x]", "returns its argument\n\n=> (id 42)")
def identity(args: list[Value], scope: Scope, machine: Machine) -> Value:
    return args[0]
