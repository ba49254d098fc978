"""Defining, branching, sequencing, and making combiners."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bassloop.bass import errors, needs
from bassloop.bass.annotated import Annotate
from bassloop.bass.bind import Bind
from bassloop.bass.bindings import binder, parameters
from bassloop.bass.combiner import Again, Applicative, Builtin, Operative, Wrapped
from bassloop.bass.compiler import body_code, code
from bassloop.bass.errors import BassError
from bassloop.bass.pair import Cell, Pair, end_of, from_list, plain
from bassloop.bass.registry import TABLE, builtin, special
from bassloop.bass.special import guarded
from bassloop.bass.values import EMPTY, IGNORE, Object, strip

if TYPE_CHECKING:
    from bassloop.bass.combiner import Plan
    from bassloop.bass.machine import Machine
    from bassloop.bass.scope import Scope
    from bassloop.bass.special import Call
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
def _define(call: Call) -> Code | None:
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
    while pattern.__class__ is Annotate:
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
def _choose(call: Call) -> Code:
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
def _sequence(call: Call) -> Code:
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
def _when(call: Call) -> Code:
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


# --- op, fn, defop, defn, wrap, unwrap --------------------------------------------------------------------------------


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
def _combiner(call: Call) -> Code | None:
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
    inside = needs.combiner(args[0], "wrap")
    return Wrapped(Again(inside) if isinstance(inside, Applicative) else inside)


@builtin(
    "unwrap", "[app]", "the combiner inside an applicative, which takes its operands as they come"
)
def unwrap(args: list[Value], scope: Scope, machine: Machine) -> Value:
    return needs.applicative(args[0], "unwrap").unwrap()


# --- eval and friends -------------------------------------------------------------------------------------------------


@builtin(
    "eval", "[form scope]",
    """evaluates a form in a scope

    => (eval [* :x :y] {:x 6 :y 7})""",
    calls=True,
)  # fmt: skip
def evaluate(args: list[Value], scope: Scope, machine: Machine) -> Value:
    inner = needs.scope(args[1], "eval")
    form = args[0]
    if not isinstance(form, Object):
        return form
    return code(strip(form) if form.__class__ is not Annotate else form, True)(inner, machine)


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
    inside = needs.applicative(args[0], "apply").unwrap()
    if len(args) > 2:
        inner = needs.scope(args[2], "apply")
    else:
        from bassloop.bass.scope import Scope as NewScope

        inner = NewScope()
    operands = plain(args[1])
    return inside.call(operands, inner, machine)


@builtin("id", "[x]", "returns its argument\n\n=> (id 42)")
def identity(args: list[Value], scope: Scope, machine: Machine) -> Value:
    return args[0]


_DO = Builtin("do", EMPTY, sequence, 0, None, operative=True)
"""Stands at the head of a body of several forms, as such a body prints."""


def _name_do() -> None:
    from bassloop.bass.symbol import Symbol

    _DO.formals = Symbol("body")


_name_do()
