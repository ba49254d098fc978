"""Evaluating in scopes of one's own: let, case, provide, import, module, threading."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bassloop.bass import arguments, errors
from bassloop.bass.annotated import Located
from bassloop.bass.bindings import binder
from bassloop.bass.builtins.combiners import make_operative
from bassloop.bass.builtins.control import truthy
from bassloop.bass.combiner import Applicative, Wrapped
from bassloop.bass.compiler import body_code, code
from bassloop.bass.errors import BassError, Exhausted
from bassloop.bass.pair import Cell, Pair, end_of, from_list, plain
from bassloop.bass.registry import builtin, special
from bassloop.bass.scope import Scope
from bassloop.bass.special import guarded
from bassloop.bass.symbol import Symbol
from bassloop.bass.values import EMPTY, IGNORE, Value

if TYPE_CHECKING:
    from bassloop.bass.bindings import Binder
    from bassloop.bass.machine import Machine
    from bassloop.bass.special import Combination
    from bassloop.bass.values import Code


def _child(scope: Scope) -> Scope:
    return Scope({}, (scope,), scope.grounded)


@builtin(
    "let", "[bindings & body]",
    """evaluates a body in a child scope, with bindings of its own

    The list alternates patterns and values, each of which sees those before it.

    => (let [x 6 y (+ x 1)] (* x y))""",
    operative=True, calls=True, indent=True,
)  # fmt: skip
def let(args: list[Value], scope: Scope, machine: Machine) -> Value:
    members = arguments.items(args[0], "let")
    child = _child(scope)
    for at in range(0, len(members), 2):
        if at + 1 == len(members):
            raise errors.bad_syntax(
                f"let has no value for its last pattern, {errors.brief(members[at])}"
            )
        failure = binder(members[at])(child, code(members[at + 1])(child, machine), machine)
        if failure is not None:
            raise failure.error()
    return body_code(args[1:])(child, machine)


@special("let")
def _let(call: Combination) -> Code | None:
    members: list[Value] = []
    if end_of(call.members[0], members) is not EMPTY or len(members) % 2:
        return None
    try:
        pairs = [(binder(p), code(v)) for p, v in zip(members[::2], members[1::2], strict=True)]
    except BassError:
        return None
    body = body_code(call.members[1:], call.tail)

    def run(scope: Scope, machine: Machine) -> Value:
        child = Scope({}, (scope,), scope.grounded)
        for bind, value in pairs:
            failure = bind(child, value(child, machine), machine)
            if failure is not None:
                raise failure.error()
        return body(child, machine)

    return guarded(call, run)


@builtin(
    "bind", "[scope formals val]",
    """tries to bind a value in a scope; whether it matched the pattern

    => (bind (current-scope) :answer 42)

    => (if (bind (current-scope) [:x] 42) x :mismatch)""",
)  # fmt: skip
def bind(args: list[Value], scope: Scope, machine: Machine) -> Value:
    inner = arguments.scope(args[0], "bind")
    return _matches(binder(args[1]), inner, args[2], machine)


def _matches(bind: Binder, scope: Scope, value: Value, machine: Machine) -> bool:
    try:
        return bind(scope, value, machine) is None
    except Exhausted:
        raise
    except BassError:
        return False


@builtin(
    "case", "[v & bs]",
    """matches a value against patterns, each followed by a form: evaluates the form of the first that matches

    What the pattern names is bound in a child scope. An error if none matches.

    => (case [1 2] [] :none [x] :one [x & more] [:several more])""",
    operative=True, calls=True, indent=True,
)  # fmt: skip
def case(args: list[Value], scope: Scope, machine: Machine) -> Value:
    value = code(args[0])(scope, machine)
    for at in range(1, len(args), 2):
        if at + 1 == len(args):
            raise errors.bad_syntax(
                f"case has no form for its last pattern, {errors.brief(args[at])}"
            )
        child = _child(scope)
        if _matches(binder(args[at]), child, value, machine):
            return code(args[at + 1], True)(child, machine)
    raise no_match(value)


def no_match(value: Value) -> BassError:
    """The error of a `case` without a pattern for the value."""
    return BassError("no matching case branch", fields=Scope({"target": value}))


@special("case")
def _case(call: Combination) -> Code | None:
    forms = call.members[1:]
    if len(forms) % 2:
        return None
    subject = code(call.members[0])
    tail = call.tail
    try:
        patterns = [binder(form) for form in forms[::2]]
    except BassError:
        return None
    bodies: list[Code | None] = [None] * len(patterns)

    def run(scope: Scope, machine: Machine) -> Value:
        value = subject(scope, machine)
        for at, pattern in enumerate(patterns):
            child = Scope({}, (scope,), scope.grounded)
            try:
                if pattern(child, value, machine) is not None:
                    continue
            except Exhausted:
                raise
            except BassError:
                continue
            body = bodies[at]
            if body is None:
                body = bodies[at] = code(forms[2 * at + 1], tail)
            return body(child, machine)
        raise no_match(value)

    return guarded(call, run)


@builtin(
    "import", "[source & symbols]",
    """binds names to what they are bound to in another scope

    => (do (import {:x 6 :y 7} x y) (* x y))""",
    operative=True,
)  # fmt: skip
def import_(args: list[Value], scope: Scope, machine: Machine) -> Value:
    source = arguments.scope(code(args[0])(scope, machine), "import")
    return import_from(source, args[1:], scope, machine)


def import_from(source: Scope, names: list[Value], scope: Scope, machine: Machine) -> Value:
    """Bind each of the names, which are forms, to its value in the source; returns the list of them."""
    for form in names:
        failure = binder(form)(scope, code(form)(source, machine), machine)
        if failure is not None:
            raise failure.error()
    return from_list(names)


@builtin(
    "provide", "[symbols & body]",
    """evaluates a body in a child scope, and binds only the given names in the current one

    => (do (provide [area] (def width 6) (defn area [height] (* width height))) (area 7))""",
    operative=True, indent=True,
)  # fmt: skip
def provide(args: list[Value], scope: Scope, machine: Machine) -> Value:
    inner = _child(scope)
    machine.finish(body_code(args[1:])(inner, machine))
    return import_from(inner, arguments.items(args[0], "provide"), scope, machine)


@builtin(
    "module", "[bindings & body]",
    """evaluates a body in a child scope; a scope of only the given names of it

    => ((module [area] (def width 6) (defn area [height] (* width height))):area 7)""",
    operative=True, indent=True,
)  # fmt: skip
def module(args: list[Value], scope: Scope, machine: Machine) -> Value:
    child = _child(scope)
    machine.finish(body_code(args[1:])(child, machine))
    made = Scope()
    for form in arguments.items(args[0], "module"):
        name = arguments.symbol(form, "module")
        made.vars[name] = machine.call(Symbol(name), [child])
    return made


@builtin(
    "->", "[x f & fs]",
    """passes a value through calls, as the first argument of each

    A call that needs no more arguments may be written without parentheses.

    => (-> 6 (+ 1) (* 6) str)""",
    operative=True, calls=True,
)  # fmt: skip
def thread(args: list[Value], scope: Scope, machine: Machine) -> Value:
    return code(_threaded(args), True)(scope, machine)


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


@special("->")
def _thread(call: Combination) -> Code:
    return guarded(call, code(_threaded(call.members), call.tail))


@builtin(
    "curryfn", "[args & body]",
    """makes a function that takes its arguments one call at a time

    What follows `&` is taken by the last call.

    => (((curryfn [x y] (* x y)) 6) 7)""",
    operative=True, indent=True,
)  # fmt: skip
def curryfn(args: list[Value], scope: Scope, machine: Machine) -> Value:
    members: list[Value] = []
    rest = end_of(args[0], members)
    if not members:
        return Wrapped(make_operative(args[0], IGNORE, args[1:], scope, machine))
    last: Value = Pair(members.pop(), rest)
    body = args[1:]
    from bassloop.bass.ground import ground

    fn = ground().vars["fn"]
    while members:
        body = [Pair(fn, Pair(last, from_list(body)))]
        last = from_list([members.pop()])
    return Wrapped(make_operative(last, IGNORE, body, scope, machine))


def _asserted(args: list[Value], scope: Scope, machine: Machine) -> tuple[bool, Value]:
    predicate = code(args[0])(scope, machine)
    values = [code(form)(scope, machine) for form in args[1:]]
    bare = plain(predicate)
    inside = bare.unwrap() if isinstance(bare, Applicative) else None
    if inside is None:
        raise errors.wrong_type(predicate, "applicative", "assert")
    return truthy(machine.call(inside, values)), Pair(args[0], from_list(values))


@builtin(
    "assert", "[predicate & args]",
    """an error unless the predicate holds of the arguments; the expected value comes first, by custom

    => (assert = 42 (* 6 7))""",
    operative=True, indent=True,
)  # fmt: skip
def assert_(args: list[Value], scope: Scope, machine: Machine) -> Value:
    holds, form = _asserted(args, scope, machine)
    if not holds:
        raise BassError(lambda: f"assertion failed: {errors.brief(form)}")
    return None


@builtin(
    "refute", "[predicate & args]",
    """an error if the predicate holds of the arguments

    => (refute = 42 (* 6 8))""",
    operative=True, indent=True,
)  # fmt: skip
def refute(args: list[Value], scope: Scope, machine: Machine) -> Value:
    holds, form = _asserted(args, scope, machine)
    if holds:
        raise BassError(lambda: f"refutation failed: {errors.brief(form)}")
    return None


@builtin(
    "error", "[msg & fields]",
    """ends with an error of this message

    Facts may follow, as alternating names and values.

    => (error "cannot find it" :name "it")""",
)  # fmt: skip
def error(args: list[Value], scope: Scope, machine: Machine) -> Value:
    fields = fields_of(args[1:], "error")
    raise BassError(arguments.text(args[0], "error"), fields=fields if fields.vars else None)


def fields_of(values: list[Value], who: str) -> Scope:
    """A scope of alternating names and values; a last name without a value is left out."""
    made = Scope()
    for name, value in zip(values[::2], values[1::2], strict=False):
        made.vars[arguments.symbol(name, who)] = value
    return made
