"""Lists, and sources and sinks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bassloop.bass.combiners import builtin, expect
from bassloop.bass.errors import BassError
from bassloop.bass.ground.control import truthy
from bassloop.bass.ground.define import function, operative
from bassloop.bass.printer import show
from bassloop.bass.streams import EndOfSource, Sink, Source, source_of
from bassloop.bass.values import (
    EMPTY,
    Cons,
    Pair,
    Scope,
    Value,
    is_list,
    iterate,
    make_list,
    unwrap_form,
)

if TYPE_CHECKING:
    from bassloop.bass.machine import Machine


def items(value: Value) -> list[Value]:
    """A list's members. Raises BassError for what is no list."""
    if not is_list(value):
        raise BassError(f"expected a list, not {show(value)[:200]}")
    return list(iterate(value))


def bind_into(ground: Scope) -> None:
    """Bind these names."""
    _bind_making(ground)
    _bind_taking(ground)
    _bind_folding(ground)
    _bind_streams(ground)


def _bind_making(ground: Scope) -> None:
    @function(ground, "cons", "[a d]", "a pair, or a list with one more in front")
    def cons(a: Value, d: Value) -> Value:
        return Pair(a, d)

    @function(ground, "list", "values", "a list of values")
    def list_(*values: Value) -> Value:
        return make_list(values)

    @function(ground, "list*", "values", "a list of values in front of the last one, a list")
    def list_star(*values: Value) -> Value:
        return make_list(values[:-1], values[-1])

    @function(ground, "concat", "lists", "lists as one")
    def concat(*lists: Value) -> Value:
        result: Value = lists[-1] if lists else EMPTY
        for each in reversed(lists[:-1]):
            result = make_list(items(each), result)
        return result

    ground.bindings["append"] = ground.bindings["concat"]

    @function(ground, "conj", "[list & values]", "a list with values after it")
    def conj(first: Value, *values: Value) -> Value:
        return make_list([*items(first), *values])


def _bind_taking(ground: Scope) -> None:
    def link(value: Value) -> Pair | Cons:
        found: Pair | Cons = expect(value, (Pair, Cons), "a list with something in it")
        return found

    @function(ground, "first", "[list]", "a list's first member")
    def first(value: Value) -> Value:
        return link(value).a

    @function(ground, "rest", "[list]", "a list without its first member")
    def rest(value: Value) -> Value:
        return link(value).d

    @function(ground, "second", "[list]", "a list's second member")
    def second(value: Value) -> Value:
        return link(link(value).d).a

    @function(ground, "third", "[list]", "a list's third member")
    def third(value: Value) -> Value:
        return link(link(link(value).d).d).a

    @function(ground, "length", "[list]", "how many members a list has")
    def length(value: Value) -> Value:
        return len(items(value))


def _bind_folding(ground: Scope) -> None:
    @function(ground, "map", "[f list]", "a function's results for the members", needs_machine=True)
    def map_(machine: Machine, mapped: Value, values: Value) -> Value:
        return make_list([machine.call(mapped, [value]) for value in items(values)])

    @function(
        ground,
        "map-pairs",
        "[f list]",
        "a function's results for two members at a time",
        needs_machine=True,
    )
    def map_pairs(machine: Machine, mapped: Value, values: Value) -> Value:
        found = items(values)
        if len(found) % 2:
            raise BassError("map-pairs takes a list of pairs, and one is uneven")
        results = [machine.call(mapped, found[i : i + 2]) for i in range(0, len(found), 2)]
        return make_list(results)

    @function(
        ground,
        "filter",
        "[predicate list]",
        "the members for which a predicate holds",
        needs_machine=True,
    )
    def filter_(machine: Machine, predicate: Value, values: Value) -> Value:
        return make_list([v for v in items(values) if truthy(machine.call(predicate, [v]))])

    @function(
        ground,
        "foldl",
        "[f initial list]",
        "folds a function over a list, from its front",
        needs_machine=True,
    )
    def foldl(machine: Machine, folded: Value, initial: Value, values: Value) -> Value:
        result = initial
        for value in items(values):
            result = machine.call(folded, [result, value])
        return result

    @function(
        ground,
        "foldr",
        "[f initial list]",
        "folds a function over a list, from its end",
        needs_machine=True,
    )
    def foldr(machine: Machine, folded: Value, initial: Value, values: Value) -> Value:
        result = initial
        for value in reversed(items(values)):
            result = machine.call(folded, [value, result])
        return result

    @function(ground, "id", "[x]", "its argument")
    def id_(value: Value) -> Value:
        return value

    @function(ground, "always", "[x]", "a function that returns x, whatever it is given")
    def always(value: Value) -> Value:
        return builtin("always", "[_]", lambda _: value)


def _bind_streams(ground: Scope) -> None:
    @function(ground, "list->source", "[list]", "a source of a list's members")
    def list_to_source(values: Value) -> Value:
        return source_of(items(values), "list")

    @function(
        ground,
        "next",
        "[source & default]",
        "a source's next value; the default at its end",
        needs_machine=True,
    )
    def next_(machine: Machine, source: Value, *default: Value) -> Value:
        found: Source = expect(source, Source, "a source")
        try:
            return machine.wait_for(found.following())
        except EndOfSource:
            if default:
                return default[0]
            raise BassError(f"{found} has no more values") from None

    @function(ground, "emit", "[value sink]", "gives a value to a sink", needs_machine=True)
    def emit(machine: Machine, value: Value, sink: Value) -> Value:
        found: Sink = expect(sink, Sink, "a sink")
        machine.wait_for(found.emit(value))
        return None

    @function(
        ground,
        "each",
        "[source f]",
        "calls a function with each of a source's values",
        needs_machine=True,
    )
    def each(machine: Machine, source: Value, called: Value) -> Value:
        for value in _values(machine, source):
            machine.call(called, [value])
        return None

    @function(ground, "take-all", "[source]", "a source's values as a list", needs_machine=True)
    def take_all(machine: Machine, source: Value) -> Value:
        return make_list(list(_values(machine, source)))

    @operative(ground, "for", "[bindings & body]", "evaluates a body for each of a source's values")
    def for_(machine: Machine, operands: Value, scope: Scope) -> Value:
        from bassloop.bass.binding import bind

        bindings, *body = items(operands)
        forms = items(unwrap_form(bindings))
        if len(forms) != 2:
            raise BassError("for takes one name and one source here")
        pattern, source = forms[0], machine.evaluate(forms[1], scope)
        code = machine.body(body)
        from bassloop.bass.machine import force

        for value in _values(machine, source):
            inner = Scope({}, (scope,))
            bind(machine, inner, pattern, value)
            force(code(inner))
        return None


def _values(machine: Machine, source: Value):  # type: ignore[no-untyped-def]
    found: Source = expect(source, Source, "a source")
    while True:
        try:
            value = machine.wait_for(found.following())
        except EndOfSource:
            return
        yield value
