"""Binding, choosing, defining: the operatives that give scripts their shape."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bassloop.bass.binding import Mismatch, bind
from bassloop.bass.combiners import Applicative, Combiner, Operative, Tail, expect
from bassloop.bass.errors import BassError
from bassloop.bass.ground.define import function, operative
from bassloop.bass.printer import show
from bassloop.bass.values import (
    EMPTY,
    IGNORE,
    MISSING,
    Cons,
    Pair,
    Scope,
    Symbol,
    Value,
    is_list,
    iterate,
    make_list,
    unwrap_form,
)

if TYPE_CHECKING:
    from bassloop.bass.machine import Machine


def operands_of(operands: Value, what: str, least: int, most: int | None = None) -> list[Value]:
    """Operands as a Python list. Raises BassError when there are too few or too many."""
    if not is_list(operands):
        raise BassError(f"{what} takes a list of operands")
    found = list(iterate(operands))
    if len(found) < least or (most is not None and len(found) > most):
        takes = f"{least}" if most == least else f"at least {least}"
        raise BassError(f"{what} takes {takes} operands, and was given {len(found)}")
    return found


def make_operative(
    machine: Machine, formals: Value, scope_formal: Value, body: list[Value], scope: Scope
) -> Operative:
    """An operative from its parts."""
    source = Pair(Symbol("op"), Pair(formals, Pair(scope_formal, make_list(body))))
    return Operative(formals, scope_formal, machine.body(body), scope, source)


def bind_into(ground: Scope) -> None:
    """Bind these names."""
    _bind_definitions(ground)
    _bind_choices(ground)
    _bind_scopes(ground)


def _bind_definitions(ground: Scope) -> None:
    @operative(ground, "def", "[binding value]", "binds a value to a name, or a pattern's names")
    def define(machine: Machine, operands: Value, scope: Scope) -> Value:
        pattern, form = operands_of(operands, "def", 2, 2)
        bind(machine, scope, pattern, machine.evaluate(form, scope))
        return unwrap_form(pattern)

    @operative(ground, "op", "[formals scope & body]", "makes an operative")
    def op(machine: Machine, operands: Value, scope: Scope) -> Value:
        formals, scope_formal, *body = operands_of(operands, "op", 2)
        return make_operative(machine, formals, scope_formal, body, scope)

    @operative(ground, "fn", "[formals & body]", "makes a function")
    def fn(machine: Machine, operands: Value, scope: Scope) -> Value:
        formals, *body = operands_of(operands, "fn", 1)
        return Applicative(make_operative(machine, formals, IGNORE, body, scope))

    @operative(ground, "defop", "[name formals scope & body]", "makes an operative and binds it")
    def defop(machine: Machine, operands: Value, scope: Scope) -> Value:
        name, formals, scope_formal, *body = operands_of(operands, "defop", 3)
        bind(machine, scope, name, make_operative(machine, formals, scope_formal, body, scope))
        return unwrap_form(name)

    @operative(ground, "defn", "[name formals & body]", "makes a function and binds it")
    def defn(machine: Machine, operands: Value, scope: Scope) -> Value:
        name, formals, *body = operands_of(operands, "defn", 2)
        made = Applicative(make_operative(machine, formals, IGNORE, body, scope))
        bind(machine, scope, name, made)
        return unwrap_form(name)

    @operative(
        ground,
        "curryfn",
        "[formals & body]",
        "makes a function that takes its arguments one by one",
    )
    def curryfn(machine: Machine, operands: Value, scope: Scope) -> Value:
        formals, *body = operands_of(operands, "curryfn", 1)
        return _curry(machine, unwrap_form(formals), body, scope)

    @operative(ground, "quote", "[form]", "returns a form without evaluating it")
    def quote(machine: Machine, operands: Value, scope: Scope) -> Value:
        return operands_of(operands, "quote", 1, 1)[0]

    @operative(ground, "let", "[bindings & body]", "binds names for a body of their own")
    def let(machine: Machine, operands: Value, scope: Scope) -> Value:
        bindings, *body = operands_of(operands, "let", 1)
        inner = Scope({}, (scope,))
        for pattern, form in _pairs(unwrap_form(bindings), "let"):
            bind(machine, inner, pattern, machine.evaluate(form, inner))
        return Tail(machine.body(body), inner)


def _curry(machine: Machine, formals: Value, body: list[Value], scope: Scope) -> Applicative:
    """One argument at a time: each call but the last returns the function of the rest."""
    if isinstance(formals, Pair | Cons) and isinstance(formals.d, Pair | Cons):
        first, rest = formals.a, formals.d

        def code(inner: Scope) -> Value:
            return _curry(machine, rest, body, inner)

        return Applicative(Operative(Pair(first, EMPTY), IGNORE, code, scope, formals))
    return Applicative(make_operative(machine, formals, IGNORE, body, scope))


def _bind_choices(ground: Scope) -> None:
    @operative(ground, "do", "body", "evaluates forms in turn, and returns the last one's value")
    def do(machine: Machine, operands: Value, scope: Scope) -> Value:
        return Tail(machine.body(operands_of(operands, "do", 0)), scope)

    @operative(ground, "if", "[cond yes no]", "chooses between two forms")
    def if_(machine: Machine, operands: Value, scope: Scope) -> Value:
        test, yes, no = operands_of(operands, "if", 3, 3)
        chosen = yes if truthy(machine.evaluate(test, scope)) else no
        return Tail(machine.compile(chosen, tail=True), scope)

    @operative(ground, "when", "[test & body]", "evaluates a body when a test holds")
    def when(machine: Machine, operands: Value, scope: Scope) -> Value:
        test, *body = operands_of(operands, "when", 1)
        if not truthy(machine.evaluate(test, scope)):
            return None
        return Tail(machine.body(body), scope)

    @operative(ground, "cond", "clauses", "evaluates the form after the first test that holds")
    def cond(machine: Machine, operands: Value, scope: Scope) -> Value:
        clauses = operands_of(operands, "cond", 0)
        if len(clauses) % 2:
            raise BassError("cond takes a form after each test")
        for index in range(0, len(clauses), 2):
            if truthy(machine.evaluate(clauses[index], scope)):
                return Tail(machine.compile(clauses[index + 1], tail=True), scope)
        return None

    @operative(
        ground,
        "case",
        "[value & branches]",
        "evaluates the form after the first pattern that matches",
    )
    def case(machine: Machine, operands: Value, scope: Scope) -> Value:
        form, *branches = operands_of(operands, "case", 1)
        value = machine.evaluate(form, scope)
        for pattern, branch in _pairs(make_list(branches), "case"):
            inner = Scope({}, (scope,))
            try:
                bind(machine, inner, pattern, value)
            except Mismatch:
                continue
            return Tail(machine.compile(branch, tail=True), inner)
        raise BassError(f"no branch of the case matches {show(value)[:500]}")

    @operative(ground, "and", "conds", "the first value that does not hold, or the last")
    def and_(machine: Machine, operands: Value, scope: Scope) -> Value:
        forms = operands_of(operands, "and", 0)
        for form in forms[:-1]:
            value = machine.evaluate(form, scope)
            if not truthy(value):
                return value
        return Tail(machine.compile(forms[-1], tail=True), scope) if forms else True

    @operative(ground, "or", "conds", "the first value that holds, or the last")
    def or_(machine: Machine, operands: Value, scope: Scope) -> Value:
        forms = operands_of(operands, "or", 0)
        for form in forms[:-1]:
            value = machine.evaluate(form, scope)
            if truthy(value):
                return value
        return Tail(machine.compile(forms[-1], tail=True), scope) if forms else False

    @operative(
        ground,
        "->",
        "[value & calls]",
        "passes a value through calls, each time as the first argument",
    )
    def thread(machine: Machine, operands: Value, scope: Scope) -> Value:
        value, *calls = operands_of(operands, "->", 1)
        for call in calls:
            call = unwrap_form(call)
            where = getattr(call, "range", None)
            if isinstance(call, Pair):
                value = Pair(call.a, Pair(value, call.d), where)
            else:
                value = Pair(call, Pair(value, EMPTY), where)
        return Tail(machine.compile(value, tail=True), scope)

    @function(ground, "not", "[x]", "whether a value does not hold")
    def not_(value: Value) -> Value:
        return not truthy(value)


def _bind_scopes(ground: Scope) -> None:
    @operative(ground, "current-scope", "[]", "the caller's scope")
    def current_scope(machine: Machine, operands: Value, scope: Scope) -> Value:
        return scope

    @operative(ground, "provide", "[names & body]", "binds some of a body's names here")
    def provide(machine: Machine, operands: Value, scope: Scope) -> Value:
        names, *body = operands_of(operands, "provide", 1)
        inner = Scope({}, (scope,))
        for form in body:
            machine.evaluate(form, inner)
        return _import(inner, list(iterate(unwrap_form(names))), scope)

    @operative(ground, "import", "[source & names]", "binds some of a scope's names here")
    def import_(machine: Machine, operands: Value, scope: Scope) -> Value:
        source, *names = operands_of(operands, "import", 1)
        found = expect(machine.evaluate(source, scope), Scope, "a scope to import from")
        return _import(found, names, scope)

    @operative(ground, "module", "[names & body]", "a scope with some of a body's names")
    def module(machine: Machine, operands: Value, scope: Scope) -> Value:
        names, *body = operands_of(operands, "module", 1)
        inner, made = Scope({}, (scope,)), Scope({})
        for form in body:
            machine.evaluate(form, inner)
        _import(inner, list(iterate(unwrap_form(names))), made)
        return made

    @function(ground, "eval", "[form scope]", "a form's value in a scope", needs_machine=True)
    def eval_(machine: Machine, form: Value, scope: Value) -> Value:
        inner = expect(scope, Scope, "a scope to evaluate in")
        return Tail(machine.compile(form, tail=True), inner)

    @function(ground, "wrap", "[combiner]", "a combiner whose operands are evaluated first")
    def wrap(combiner: Value) -> Value:
        return Applicative(expect(combiner, Combiner, "a combiner to wrap"))

    @function(ground, "unwrap", "[function]", "what a function wraps")
    def unwrap(combiner: Value) -> Value:
        return expect(combiner, Applicative, "a function to unwrap").underlying

    @function(ground, "make-scope", "parents", "an empty scope with these parents")
    def make_scope(*parents: Value) -> Value:
        return Scope({}, tuple(expect(parent, Scope, "a scope as parent") for parent in parents))

    @function(
        ground,
        "bind",
        "[scope pattern value]",
        "binds a pattern in a scope, and says whether it matched",
        needs_machine=True,
    )
    def bind_(machine: Machine, scope: Value, pattern: Value, value: Value) -> Value:
        inner = expect(scope, Scope, "a scope to bind in")
        try:
            bind(machine, inner, pattern, value)
        except Mismatch:
            return False
        return True

    @function(ground, "binds?", "[scope name]", "whether a scope has a name")
    def binds(scope: Value, name: Value) -> Value:
        found = expect(scope, Scope, "a scope").items()
        return expect(name, Symbol, "a symbol").name in dict(found)

    @function(
        ground,
        "apply",
        "[function arguments & scope]",
        "calls a function with a list of arguments",
        needs_machine=True,
    )
    def apply(machine: Machine, called: Value, arguments: Value, *scope: Value) -> Value:
        inner = scope[0] if scope else Scope()
        return machine.call_tail(called, list(iterate(arguments)), inner)

    @function(ground, "error", "[message & fields]", "ends with an error")
    def error(message: Value, *fields: Value) -> Value:
        named = {show(fields[i]).lstrip(":"): fields[i + 1] for i in range(0, len(fields) - 1, 2)}
        raise BassError(message if isinstance(message, str) else show(message), fields=named)

    @operative(
        ground, "assert", "[predicate & arguments]", "ends with an error unless a predicate holds"
    )
    def assert_(machine: Machine, operands: Value, scope: Scope) -> Value:
        predicate, *arguments = operands_of(operands, "assert", 1)
        values = [machine.evaluate(argument, scope) for argument in arguments]
        if not truthy(machine.call(machine.evaluate(predicate, scope), values, scope)):
            raise BassError(f"the assertion does not hold: {show(operands)}")
        return None

    @operative(
        ground, "refute", "[predicate & arguments]", "ends with an error if a predicate holds"
    )
    def refute(machine: Machine, operands: Value, scope: Scope) -> Value:
        predicate, *arguments = operands_of(operands, "refute", 1)
        values = [machine.evaluate(argument, scope) for argument in arguments]
        if truthy(machine.call(machine.evaluate(predicate, scope), values, scope)):
            raise BassError(f"what should not hold does: {show(operands)}")
        return None

    @operative(ground, "doc", "names", "shows what names are for")
    def doc(machine: Machine, operands: Value, scope: Scope) -> Value:
        for form in iterate(operands):
            name = unwrap_form(form)
            machine.log(f"{show(name)}: {find_doc(scope, show(name))}", {})
        return None


def find_doc(scope: Scope, name: str) -> str:
    """The documentation of a name, where it is bound; nothing when there is none."""
    if name in scope.docs:
        return scope.docs[name]
    return next(filter(None, (find_doc(parent, name) for parent in scope.parents)), "")


def truthy(value: Value) -> bool:
    """Everything holds but false and null."""
    return value is not False and value is not None


def _import(source: Scope, names: list[Value], scope: Scope) -> Value:
    bound = []
    for form in names:
        name = expect(unwrap_form(form), Symbol, "a name to bind")
        value: Any = source.find(name.name)
        if value is MISSING:
            raise BassError(f"{name} is not bound there")
        scope.bindings[name.name] = value
        if name.name in source.docs:
            scope.docs[name.name] = source.docs[name.name]
        bound.append(name)
    return make_list(bound)


def _pairs(forms: Value, what: str) -> list[tuple[Value, Value]]:
    found = list(iterate(forms))
    if len(found) % 2:
        raise BassError(f"{what} takes pairs, and was given {len(found)} forms")
    return [(found[index], found[index + 1]) for index in range(0, len(found), 2)]
