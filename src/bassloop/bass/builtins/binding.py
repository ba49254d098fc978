"""Making combiners, and binding names in child scopes: fn, op, let, case, module. Also threading, and currying."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bassloop.bass import arguments
from bassloop.bass.builtins.control import bound_form
from bassloop.bass.combiner import Applicative, Builtin, Operative, OperativePlan, call, unwrap
from bassloop.bass.compile.code import body_code, code, lazy_code
from bassloop.bass.compile.patterns import bind, binder, parameters
from bassloop.bass.errors import BassError, Exhausted, bad_syntax, brief
from bassloop.bass.registry import TABLE, builtin, function, special_form
from bassloop.bass.values import (
    EMPTY,
    IGNORE,
    Cell,
    Located,
    Pair,
    Scope,
    Symbol,
    Value,
    end_of,
    from_list,
    plain,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from bassloop.bass.arguments import ApplicativeCombiner
    from bassloop.bass.machine import Binder, Code, Machine
    from bassloop.bass.registry import Combination
    from bassloop.bass.values import Combiner


# --- op, fn, defop, defn, wrap, unwrap ---


_DO = Builtin("do", Symbol("body"), TABLE["do"].function, operative=True)
"""The head of a body that consists of several forms, when it's printed."""


def plan_operative(
    formals: Value, scope_formal: Value, forms: list[Value]
) -> Callable[[Scope, Machine], Operative]:
    """Compile an operative, and return a function that makes a closure of it over a scope.

    Raises `BassError` for an invalid pattern, and if there is no body.
    """
    if not forms:
        raise bad_syntax(f"a combiner needs a body: {brief(formals)} has none")
    body = forms[0] if len(forms) == 1 else Pair(_DO, from_list(forms))
    ignored = plain(scope_formal) is IGNORE
    names = parameters(formals) if ignored else None
    bind_scope = None if ignored else binder(scope_formal)
    plan = OperativePlan(names, binder(formals), bind_scope, lazy_code(forms))
    shadowed = [name for name in names or () if name in TABLE]

    def close(scope: Scope, machine: Machine) -> Operative:
        if shadowed:
            machine.shadowed.update(shadowed)
        return Operative(formals, scope_formal, body, scope, plan)

    return close


@special_form("op", "[formals eformal & body]", indent=True)
def op(form: Combination) -> Code:
    """Makes an operative: a combiner that takes its operands as they are written.

    `formals` is the pattern for the list of operands, `eformal` the pattern for the scope of the caller.

    => ((op [form] scope [form (eval form scope)]) (* 6 7))
    """
    formals, scope_formal, *body = form.operands
    return plan_operative(formals, scope_formal, body)


@special_form("fn", "[formals & body]", indent=True)
def fn(form: Combination) -> Code:
    """Makes a function: a combiner that evaluates its operands.

    => ((fn [x y] (* x y)) 6 7)

    => ((fn args (length args)) :a :b :c)
    """
    close = plan_operative(form.operands[0], IGNORE, form.operands[1:])
    return lambda scope, machine: Applicative(close(scope, machine))


@special_form("defop", "[name formals eformal & body]", indent=True)
def defop(form: Combination) -> Code:
    """Makes an operative and binds it to a name, which it returns.

    A comment in front of it becomes its documentation.

    => (do (defop twice [form] scope (do (eval form scope) (eval form scope))) (twice (log "hey")))
    """
    name, formals, scope_formal, *body = form.operands
    return _definition(name, plan_operative(formals, scope_formal, body))


@special_form("defn", "[name formals & body]", indent=True)
def defn(form: Combination) -> Code:
    """Makes a function and binds it to a name, which it returns.

    A comment in front of it becomes its documentation.

    => (do (defn double [x] (* x 2)) (double 21))
    """
    name, formals, *body = form.operands
    close = plan_operative(formals, IGNORE, body)
    return _definition(name, lambda scope, machine: Applicative(close(scope, machine)))


def _definition(pattern: Value, make: Code) -> Code:
    bind = binder(pattern)
    result = bound_form(pattern)

    def run(scope: Scope, machine: Machine) -> Value:
        mismatch = bind(scope, make(scope, machine), machine)
        if mismatch is not None:
            raise mismatch.error()
        return result

    return run


@function("wrap")
def wrap(comb: Combiner) -> Value:
    """Makes an applicative, which evaluates its operands and calls the combiner with the values.

    => ((wrap quote) (* 6 7))
    """
    return Applicative(comb)


@function("unwrap")
def unwrap_(app: ApplicativeCombiner) -> Value:
    """Returns the combiner inside an applicative, which doesn't evaluate its operands."""
    return unwrap(app)


# --- let, case, import, provide, module, ->, curryfn ---


@special_form("let", "[bindings & body]", indent=True)
def let(form: Combination) -> Code:
    """Evaluates a body in a child scope, with bindings of its own.

    The list alternates patterns and values. Each value sees the bindings before it.

    => (let [x 6 y (+ x 1)] (* x y))
    """
    members = arguments.items(form.operands[0], "let")
    if len(members) % 2:
        raise bad_syntax(f"let has no value for its last pattern, {brief(members[-1])}")
    steps = [
        (binder(pattern), code(value))
        for pattern, value in zip(members[::2], members[1::2], strict=True)
    ]
    body = body_code(form.operands[1:], form.tail)

    def run(scope: Scope, machine: Machine) -> Value:
        child = Scope({}, (scope,), scope.grounded is True)
        for match, value in steps:
            mismatch = match(child, value(child, machine), machine)
            if mismatch is not None:
                raise mismatch.error()
        return body(child, machine)

    return run


@function("bind")
def bind_(scope: Scope, formals: Value, val: Value, *, machine: Machine) -> Value:
    """Binds a pattern's names in a scope, and returns whether the value matched.

    => (bind (current-scope) :answer 42)

    => (if (bind (current-scope) [:x] 42) x :mismatch)
    """
    match = binder(formals)
    try:
        return match(scope, val, machine) is None
    except Exhausted:
        raise
    except BassError:
        return False


@special_form("case", "[v & bs]", indent=True)
def case(form: Combination) -> Code:
    """Matches a value against patterns, each followed by a form, and evaluates the form of the first one that matches.

    The pattern's names are bound in a child scope. It is an error if no pattern matches.

    => (case [1 2] [] :none [x] :one [x & more] [:several more])
    """
    subject = code(form.operands[0])
    arms, fail = _arms(form.operands[1:], form.tail)

    def run(scope: Scope, machine: Machine) -> Value:
        value = subject(scope, machine)
        parents, grounded = (scope,), scope.grounded is True
        for match, body in arms:
            child = Scope({}, parents, grounded)
            try:
                if match(child, value, machine) is not None:
                    continue
            except Exhausted:
                raise
            except BassError:
                continue
            return body(child, machine)
        raise fail(value)

    return run


def _arms(
    forms: list[Value], tail: bool
) -> tuple[list[tuple[Binder, Code]], Callable[[Value], BassError]]:
    """Return the compiled arms of a `case`, and a function that returns the error for a value that none matches.

    An invalid pattern, or one without a form, is an error only if no pattern before it matches.
    """
    arms: list[tuple[Binder, Code]] = []
    message = ""
    for pattern, body in zip(forms[::2], forms[1::2], strict=False):
        try:
            arms.append((binder(pattern), code(body, tail)))
        except BassError as error:
            message = error.message
            break
    else:
        if len(forms) % 2:
            last = brief(forms[-1])
            message = f"bad syntax: case has no form for its last pattern, {last}"
    return arms, (lambda value: BassError(message)) if message else no_match


def no_match(value: Value) -> BassError:
    """Return the error of a `case` that has no pattern for the value."""
    return BassError("no matching case branch", fields=Scope({"target": value}))


@builtin("import", "[source & symbols]", operative=True)
def import_(args: list[Value], scope: Scope, machine: Machine) -> Value:
    """Binds names to their values in another scope.

    => (do (import {:x 6 :y 7} x y) (* x y))
    """
    source = arguments.scope(code(args[0])(scope, machine), "import")
    return import_from(source, args[1:], scope, machine)


def import_from(source: Scope, names: list[Value], scope: Scope, machine: Machine) -> Value:
    """Bind each of the names, which are forms, to its value in the source; return the list of names."""
    for form in names:
        bind(form, code(form)(source, machine), scope, machine)
    return from_list(names)


@builtin("provide", "[symbols & body]", operative=True, indent=True)
def provide(args: list[Value], scope: Scope, machine: Machine) -> Value:
    """Evaluates a body in a child scope, and binds only the given names in the current one.

    => (do (provide [area] (def width 6) (defn area [height] (* width height))) (area 7))
    """
    inner = scope.child()
    machine.finish(body_code(args[1:])(inner, machine))
    return import_from(inner, arguments.items(args[0], "provide"), scope, machine)


@builtin("module", "[bindings & body]", operative=True, indent=True)
def module(args: list[Value], scope: Scope, machine: Machine) -> Value:
    """Evaluates a body in a child scope, and returns a scope of only the given names.

    => ((module [area] (def width 6) (defn area [height] (* width height))):area 7)
    """
    child = scope.child()
    machine.finish(body_code(args[1:])(child, machine))
    made = Scope()
    for form in arguments.items(args[0], "module"):
        name = arguments.symbol(form, "module")
        made.vars[name] = call(Symbol(name), [child], machine)
    return made


@special_form("->", "[x f & fs]")
def thread(form: Combination) -> Code:
    """Passes a value through calls, as the first argument of each.

    A call without further arguments may be written without parentheses.

    => (-> 6 (+ 1) (* 6) str)
    """
    return code(_threaded(form.operands), form.tail)


def _threaded(members: list[Value]) -> Value:
    form, *calls = members
    for each in calls:
        bare = plain(each)
        if isinstance(bare, Cell):
            made = Pair(bare.a, Pair(form, bare.d))
        else:
            made = Pair(each, Pair(form, EMPTY))
        form = Located(made, each.range) if each.__class__ is Located else made
    return form


@builtin("curryfn", "[args & body]", operative=True, indent=True)
def curryfn(args: list[Value], scope: Scope, machine: Machine) -> Value:
    """Makes a function that takes its arguments one call at a time.

    The last call takes what follows `&`.

    => (((curryfn [x y] (* x y)) 6) 7)
    """
    members: list[Value] = []
    rest = end_of(args[0], members)
    last: Value = Pair(members.pop(), rest) if members else args[0]
    body = args[1:]
    fn = machine.ground.vars["fn"]
    while members:
        body = [Pair(fn, Pair(last, from_list(body)))]
        last = from_list([members.pop()])
    return Applicative(plan_operative(last, IGNORE, body)(scope, machine))
