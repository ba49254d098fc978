"""Lists: made, taken apart, gone through."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bassloop.bass import errors
from bassloop.bass.builtins.control import truthy
from bassloop.bass.builtins.predicates import is_empty
from bassloop.bass.builtins.scoping import no_match
from bassloop.bass.combiner import Applicative, Combiner, Operative, Wrapped
from bassloop.bass.machine import TAIL
from bassloop.bass.pair import Cell, Pair, end_of, from_list, plain
from bassloop.bass.registry import builtin, dotted
from bassloop.bass.scope import Scope
from bassloop.bass.symbol import Symbol
from bassloop.bass.values import EMPTY, Value, strip

if TYPE_CHECKING:
    from collections.abc import Callable

    from bassloop.bass.machine import Machine

CELL_BYTES = 72


def caller(function: Value, machine: Machine, **names: Value) -> Callable[[list[Value]], Value]:
    """What calls a function that a builtin was given.

    To an operative its operands are forms: the names that the builtin has for them, in a scope of these.
    """
    bare = strip(function)
    if bare.__class__ is Wrapped and bare.underlying.__class__ is Operative:
        return _calling(bare, bare.underlying, machine)
    if isinstance(bare, Applicative):
        return lambda args: machine.call(bare, args)
    if not isinstance(bare, Combiner):
        raise errors.not_callable(bare)

    def call(args: list[Value]) -> Value:
        from bassloop.bass.ground import ground

        inner = Scope(dict(zip(names, args, strict=False)), (ground(),), True)
        return machine.call(bare, [Symbol(name) for name in names], inner)

    return call


def _calling(
    function: Wrapped, inside: Operative, machine: Machine
) -> Callable[[list[Value]], Value]:
    """The same for a function that was made by `fn`, as short as it can be."""
    names, body, static, parents = inside.names, inside.run, inside.static, inside.parents

    def call(args: list[Value]) -> Value:
        if names is None or len(names) != len(args):
            return machine.call(function, args)
        machine.spend(1)
        inner = Scope(dict(zip(names, args, strict=True)), parents, static.grounded)
        result = body(inner, machine)
        return machine.finish(result) if result is TAIL else result

    return call


def spine(value: Value, who: str) -> list[Value]:
    """The members of a list that ends in anything that is empty."""
    members: list[Value] = []
    rest = end_of(value, members)
    if rest is not EMPTY and not is_empty(rest):
        raise errors.wrong_type(rest, "list", who)
    return members


def proper(value: Value) -> list[Value]:
    """The members of a list, for those that match it with `case`."""
    members: list[Value] = []
    rest = end_of(value, members)
    if rest is not EMPTY:
        raise no_match(rest)
    return members


def _cell(value: Value, pattern: str) -> Value:
    bare = plain(value)
    if not isinstance(bare, Cell):
        raise errors.BassError(lambda: f"bind: need {pattern}, have {errors.brief(value)}")
    return bare


@builtin("cons", "[a d]", "a pair of two values; a list, if the second is one\n\n=> (cons 1 [2 3])")
def cons(args: list[Value], scope: Scope, machine: Machine) -> Value:
    return Pair(args[0], args[1])


@builtin("list", "values", "a list of its arguments\n\n=> (list 1 2 3)")
def list_(args: list[Value], scope: Scope, machine: Machine) -> Value:
    return from_list(args)


@dotted("list")
def _list_ended(args: list[Value], rest: Value, scope: Scope, machine: Machine) -> Value:
    return from_list(args, rest)


@builtin(
    "list*",
    "args",
    "puts values in front of a list, which is the last argument\n\n=> (list* 1 2 [3 4])",
)
def list_star(args: list[Value], scope: Scope, machine: Machine) -> Value:
    if not args:
        raise errors.arity("list*", 1, 0, variadic=True)
    return from_list(args[:-1], args[-1])


@builtin("first", "[(f & _)]", "the first value of a pair\n\n=> (first [1 2 3])")
def first(args: list[Value], scope: Scope, machine: Machine) -> Value:
    cell = args[0]
    return cell.a if cell.__class__ is Pair else _cell(cell, "(f & _)").a


@builtin(
    "rest",
    "[(_ & r)]",
    "the second value of a pair: the list without its first\n\n=> (rest [1 2 3])",
)
def rest(args: list[Value], scope: Scope, machine: Machine) -> Value:
    cell = args[0]
    return cell.d if cell.__class__ is Pair else _cell(cell, "(_ & r)").d


@builtin("second", "[(_ x & _)]", "the second member of a list\n\n=> (second [1 2 3])")
def second(args: list[Value], scope: Scope, machine: Machine) -> Value:
    return _cell(_cell(args[0], "(_ x & _)").d, "(_ x & _)").a


@builtin("third", "[(_ _ x & _)]", "the third member of a list\n\n=> (third [1 2 3])")
def third(args: list[Value], scope: Scope, machine: Machine) -> Value:
    tail = _cell(_cell(args[0], "(_ _ x & _)").d, "(_ _ x & _)").d
    return _cell(tail, "(_ _ x & _)").a


@builtin("length", "[xs]", "how many members a list has\n\n=> (length [1 2 3])")
def length(args: list[Value], scope: Scope, machine: Machine) -> Value:
    return len(spine(args[0], "length"))


@builtin(
    "map", "[f xs]",
    """the list of what a function returns for each member of a list

    => (map (fn [x] (* x 7)) [4 5 6])""",
)  # fmt: skip
def map_(args: list[Value], scope: Scope, machine: Machine) -> Value:
    members = spine(args[1], "map")
    if not members:
        return EMPTY
    call = caller(args[0], machine, x=None)
    machine.meter.allocate(len(members) * CELL_BYTES)
    return from_list([call([member]) for member in members])


@builtin(
    "map-pairs", "[f ps]",
    """the list of what a function returns for every two members of a list

    => (map-pairs * [1 2 3 4])""",
)  # fmt: skip
def map_pairs(args: list[Value], scope: Scope, machine: Machine) -> Value:
    members = spine(args[1], "map-pairs")
    if not members:
        return EMPTY
    call = caller(args[0], machine, a=None, b=None)
    results = [call([a, b]) for a, b in zip(members[::2], members[1::2], strict=False)]
    if len(members) % 2:
        raise errors.bad_syntax(
            f"map-pairs: {errors.brief(members[-1])} is not paired with anything"
        )
    return from_list(results)


@builtin(
    "foldr", "[f z xs]",
    """combines the members of a list, from the right: `(f first (f second … (f last z)))`

    => (foldr cons [4 5] [1 2 3])""",
)  # fmt: skip
def foldr(args: list[Value], scope: Scope, machine: Machine) -> Value:
    members = proper(args[2])
    result = args[1]
    if members:
        call = caller(args[0], machine, x=None, acc=None)
        for member in reversed(members):
            result = call([member, result])
    return result


@builtin(
    "foldl", "[f z xs]",
    """combines the members of a list, from the left: `(f … (f (f z first) second) last)`

    => (foldl conj [] [1 2 3])""",
)  # fmt: skip
def foldl(args: list[Value], scope: Scope, machine: Machine) -> Value:
    members = proper(args[2])
    result = args[1]
    if members:
        call = caller(args[0], machine, z=None, x=None)
        for member in members:
            result = call([result, member])
    return result


def _concat(args: list[Value], scope: Scope, machine: Machine) -> Value:
    joined: list[Value] = []
    for each in args[:-1]:
        joined.extend(proper(each))
    machine.meter.allocate(len(joined) * CELL_BYTES)
    machine.spend(len(joined))
    return from_list(joined, args[-1] if args else EMPTY)


builtin("concat", "xss", "one list of the members of all lists\n\n=> (concat [1] [2 3] [4])")(
    _concat
)
builtin("append", "xss", "the same as [concat], which is the name to use")(_concat)


@builtin(
    "filter", "[predicate xs]",
    """the members of a list of which the predicate holds

    => (filter (fn [x] (> x 2)) [1 2 3 4])""",
)  # fmt: skip
def filter_(args: list[Value], scope: Scope, machine: Machine) -> Value:
    members = spine(args[1], "filter")
    if not members:
        return EMPTY
    call = caller(args[0], machine, x=None)
    return from_list([member for member in members if truthy(call([member]))])


@builtin("conj", "[xs y & ys]", "a list with further values at its end\n\n=> (conj [1 2] 3 4)")
def conj(args: list[Value], scope: Scope, machine: Machine) -> Value:
    members = spine(args[0], "conj")
    machine.spend(len(members))
    return from_list(members + args[1:])


@builtin(
    "always", "[x]", "a function of one argument that always returns the same\n\n=> ((always 42) 7)"
)
def always(args: list[Value], scope: Scope, machine: Machine) -> Value:
    from bassloop.bass.combiner import Builtin

    (value,) = args
    formals = from_list([Symbol("_")])
    return Wrapped(Builtin("always", formals, lambda ignored, scope, machine: value, 1, 1))
