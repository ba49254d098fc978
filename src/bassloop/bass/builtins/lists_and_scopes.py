"""Lists; scopes and metadata."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bassloop.bass import arguments
from bassloop.bass.builtins.binding import no_match
from bassloop.bass.builtins.control import truthy
from bassloop.bass.builtins.predicates import is_empty
from bassloop.bass.combiner import Applicative, Builtin, Operative, call
from bassloop.bass.errors import BassError, arity, bad_syntax, brief, not_callable, wrong_type
from bassloop.bass.registry import builtin, function
from bassloop.bass.values import (
    EMPTY,
    MISSING,
    Bind,
    Cell,
    Combiner,
    Pair,
    Scope,
    Symbol,
    Value,
    WithMeta,
    end_of,
    from_list,
    plain,
    strip,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from bassloop.bass.arguments import ApplicativeCombiner, SymbolName
    from bassloop.bass.machine import Machine


def caller(function: Value, machine: Machine, *names: str) -> Callable[[list[Value]], Value]:
    """Return a Python function that calls a combiner with a list of arguments.

    The operands of an operative are these names, in a scope that binds them to the arguments.
    """
    bare = strip(function)
    if isinstance(bare, Applicative) and isinstance(bare.underlying, Operative):
        return _function_caller(bare, bare.underlying, machine)
    if not isinstance(bare, Combiner):
        raise not_callable(bare)
    if bare.applicative:
        return lambda args: call(bare, args, machine)

    def call_operative(args: list[Value]) -> Value:
        scope = Scope(dict(zip(names, args, strict=False)), (machine.ground,), True)
        return call(bare, [Symbol(name) for name in names], machine, scope)

    return call_operative


def _function_caller(
    function: Applicative, inside: Operative, machine: Machine
) -> Callable[[list[Value]], Value]:
    """Return a fast `caller` of a function that was made by `fn`."""
    names, body, parents, grounded = inside.names, inside.run, inside.parents, inside.grounded

    def call_function(args: list[Value]) -> Value:
        if names is None or len(names) != len(args):
            return call(function, args, machine)
        machine.step()
        inner = Scope(dict(zip(names, args, strict=True)), parents, grounded)
        return machine.finish(body(inner, machine))

    return call_function


def spine(value: Value, where: str) -> list[Value]:
    """Return the members of a list, which may end in any empty value."""
    members: list[Value] = []
    rest = end_of(value, members)
    if rest is not EMPTY and not is_empty(rest):
        raise wrong_type(rest, "list", where)
    return members


def proper(value: Value) -> list[Value]:
    """Return the members of a list. If it isn't one, raises the error of a `case` that has no matching pattern."""
    members: list[Value] = []
    rest = end_of(value, members)
    if rest is not EMPTY:
        raise no_match(rest)
    return members


def _cell(value: Value, pattern: str) -> Value:
    bare = plain(value)
    if not isinstance(bare, Cell):
        raise BassError(lambda: f"bind: need {pattern}, have {brief(value)}")
    return bare


@builtin("cons", "[a d]")
def cons(args: list[Value], scope: Scope, machine: Machine) -> Value:
    """Returns a pair of two values, which is a list if the second one is.

    => (cons 1 [2 3])
    """
    return Pair(args[0], args[1])


def _list_with_rest(args: list[Value], rest: Value, scope: Scope, machine: Machine) -> Value:
    return from_list(args, rest)


@builtin("list", "values", dotted=_list_with_rest)
def list_(args: list[Value], scope: Scope, machine: Machine) -> Value:
    """Returns a list of its arguments.

    => (list 1 2 3)
    """
    return from_list(args)


@builtin("list*", "args")
def list_star(args: list[Value], scope: Scope, machine: Machine) -> Value:
    """Puts values in front of a list, which is the last argument.

    => (list* 1 2 [3 4])
    """
    if not args:
        raise arity("list*", 1, 0, variadic=True)
    return from_list(args[:-1], args[-1])


@builtin("first", "[(f & _)]")
def first(args: list[Value], scope: Scope, machine: Machine) -> Value:
    """Returns the first value of a pair.

    => (first [1 2 3])
    """
    cell = args[0]
    return cell.a if cell.__class__ is Pair else _cell(cell, "(f & _)").a


@builtin("rest", "[(_ & r)]")
def rest(args: list[Value], scope: Scope, machine: Machine) -> Value:
    """Returns the second value of a pair: a list without its first member.

    => (rest [1 2 3])
    """
    cell = args[0]
    return cell.d if cell.__class__ is Pair else _cell(cell, "(_ & r)").d


@builtin("second", "[(_ x & _)]")
def second(args: list[Value], scope: Scope, machine: Machine) -> Value:
    """Returns the second member of a list.

    => (second [1 2 3])
    """
    return _cell(_cell(args[0], "(_ x & _)").d, "(_ x & _)").a


@builtin("third", "[(_ _ x & _)]")
def third(args: list[Value], scope: Scope, machine: Machine) -> Value:
    """Returns the third member of a list.

    => (third [1 2 3])
    """
    tail = _cell(_cell(args[0], "(_ _ x & _)").d, "(_ _ x & _)").d
    return _cell(tail, "(_ _ x & _)").a


@builtin("length", "[xs]")
def length(args: list[Value], scope: Scope, machine: Machine) -> Value:
    """Returns the number of members of a list.

    => (length [1 2 3])
    """
    return len(spine(args[0], "length"))


@builtin("map", "[f xs]")
def map_(args: list[Value], scope: Scope, machine: Machine) -> Value:
    """Returns the list of what a function returns for each member of a list.

    => (map (fn [x] (* x 7)) [4 5 6])
    """
    members = spine(args[1], "map")
    if not members:
        return EMPTY
    call = caller(args[0], machine, "x")
    return from_list([call([member]) for member in members])


@builtin("map-pairs", "[f ps]")
def map_pairs(args: list[Value], scope: Scope, machine: Machine) -> Value:
    """Returns the list of what a function returns for every two members of a list.

    => (map-pairs * [1 2 3 4])
    """
    members = spine(args[1], "map-pairs")
    if not members:
        return EMPTY
    call = caller(args[0], machine, "a", "b")
    results = [call([a, b]) for a, b in zip(members[::2], members[1::2], strict=False)]
    if len(members) % 2:
        raise bad_syntax(f"map-pairs: {brief(members[-1])} is not paired with anything")
    return from_list(results)


@builtin("foldr", "[f z xs]")
def foldr(args: list[Value], scope: Scope, machine: Machine) -> Value:
    """Combines the members of a list, from the right: `(f first (f second … (f last z)))`.

    => (foldr cons [4 5] [1 2 3])
    """
    members = proper(args[2])
    result = args[1]
    if members:
        call = caller(args[0], machine, "x", "acc")
        for member in reversed(members):
            result = call([member, result])
    return result


@builtin("foldl", "[f z xs]")
def foldl(args: list[Value], scope: Scope, machine: Machine) -> Value:
    """Combines the members of a list, from the left: `(f … (f (f z first) second) last)`.

    => (foldl conj [] [1 2 3])
    """
    members = proper(args[2])
    result = args[1]
    if members:
        call = caller(args[0], machine, "z", "x")
        for member in members:
            result = call([result, member])
    return result


@builtin("concat", "xss")
def concat(args: list[Value], scope: Scope, machine: Machine) -> Value:
    """Returns one list of the members of all lists.

    => (concat [1] [2 3] [4])
    """
    joined: list[Value] = []
    for each in args[:-1]:
        joined.extend(proper(each))
    return from_list(joined, args[-1] if args else EMPTY)


@builtin("append", "xss", deprecated="Use [concat] instead.")
def append(args: list[Value], scope: Scope, machine: Machine) -> Value:
    """Does the same as [concat]."""
    return concat(args, scope, machine)


@builtin("filter", "[predicate xs]")
def filter_(args: list[Value], scope: Scope, machine: Machine) -> Value:
    """Returns the members of a list that a predicate is true of.

    => (filter (fn [x] (> x 2)) [1 2 3 4])
    """
    members = spine(args[1], "filter")
    if not members:
        return EMPTY
    call = caller(args[0], machine, "x")
    return from_list([member for member in members if truthy(call([member]))])


@builtin("conj", "[xs y & ys]")
def conj(args: list[Value], scope: Scope, machine: Machine) -> Value:
    """Returns a list with more values at its end.

    => (conj [1 2] 3 4)
    """
    members = spine(args[0], "conj")
    return from_list(members + args[1:])


@function("always")
def always(x: Value) -> Value:
    """Returns a function of one argument that always returns the same value.

    => ((always 42) 7)
    """
    formals = from_list([Symbol("_")])
    return Applicative(Builtin("always", formals, lambda ignored, scope, machine: x, 1, 1))


# --- scopes ---


@function("make-scope")
def make_scope(*parents: Scope, machine: Machine) -> Value:
    """Returns a new scope with these parents.

    => (:a (make-scope {:a 1} {:b 2}))
    """
    made = Scope()
    for each in parents:
        machine.add_parent(made, each)
    return made


@builtin("merge", "scopes")
def merge(args: list[Value], scope: Scope, machine: Machine) -> Value:
    """Returns a scope of everything that these scopes bind. The last one has precedence.

    => (merge {:a 1 :b 2} {:b :two})
    """
    return make_scope(args[::-1], scope, machine)


@function("assoc")
def assoc(obj: Scope, *kvs: Value) -> Value:
    """Returns a copy of a scope with names bound to other values.

    => (assoc {:a 1} :b 2 :c 3)
    """
    made = obj.copy()
    names = [arguments.symbol(name, "assoc") for name in kvs[::2]]
    made.vars.update(zip(names, kvs[1::2], strict=False))
    return made


@function("list->scope")
def list_to_scope(kwargs: list[Value], *, scope: Scope, machine: Machine) -> Value:
    """Returns a scope of alternating names and values.

    => (list->scope [:a 1 :b 2])
    """
    return assoc([Scope(), *kwargs], scope, machine)


@function("scope->list")
def scope_to_list(obj: Scope) -> Value:
    """Returns a list of alternating names and values.

    => (scope->list {:a 1 :b 2})
    """
    flat: list[Value] = []
    for name, value in obj.items():
        flat += (Symbol(name), value)
    return from_list(flat)


@function("keys")
def keys(scope: Scope) -> Value:
    """Returns the names that a scope binds.

    => (keys {:a 1 :b 2})
    """
    return from_list(map(Symbol, scope.names()))


@function("vals")
def vals(scope: Scope) -> Value:
    """Returns the values that a scope binds.

    => (vals {:a 1 :b 2})
    """
    return from_list([value for _, value in scope.items()])


@function("reduce-kv")
def reduce_kv(f: ApplicativeCombiner, init: Value, kv: Scope, *, machine: Machine) -> Value:
    """Combines the bindings of a scope, in order: calls `f` with the result so far, a name and its value.

    => (reduce-kv (fn [sum name value] (+ sum value)) 0 {:a 1 :b 2})
    """
    call = caller(f, machine)
    for name, value in kv.items():
        init = call([init, Symbol(name), value])
    return init


@function("binds?")
def binds(scope: Scope, sym: SymbolName) -> Value:
    """Returns whether a scope binds a name.

    => (binds? {:x 1} :x)
    """
    return scope.get(sym) is not MISSING


@function("list->bind", shown="list->source")
def list_to_bind(list: list[Value]) -> Value:
    """Returns a `{…}` form of these members.

    => (eval (list->bind [(quote :a) 1]) {})
    """
    return Bind(tuple(list))


@builtin("meta", "[val]")
def meta(args: list[Value], scope: Scope, machine: Machine) -> Value:
    """Returns the metadata of a value, a scope, or null if it has none.

    => (meta ^{:a 1} [])
    """
    value = args[0]
    return value.meta if value.__class__ is WithMeta else None


@builtin("with-meta", "[val meta]")
def with_meta(args: list[Value], scope: Scope, machine: Machine) -> Value:
    """Returns a value with other metadata. Null leaves it as it is.

    => (meta (with-meta [] {:a 1}))
    """
    value, about = args
    if plain(about) is None:
        return value
    bare = value.value if value.__class__ is WithMeta else value
    return WithMeta(bare, arguments.scope(about, "with-meta"))
