"""Reading from sources, writing to sinks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bassloop.bass import arguments
from bassloop.bass.builtins.lists_and_scopes import caller
from bassloop.bass.compile.code import body_code, code
from bassloop.bass.compile.patterns import binder
from bassloop.bass.errors import EndOfSource, bad_syntax, brief
from bassloop.bass.json_stream import END
from bassloop.bass.registry import builtin, function
from bassloop.bass.stream import AcrossSource, ListSource, Sink, Source
from bassloop.bass.values import EMPTY, from_list

if TYPE_CHECKING:
    from bassloop.bass.machine import Machine
    from bassloop.bass.values import Scope, Value


def _next(source: Source, machine: Machine) -> Value:
    """Return the next value of a source, or `END`.

    Not a generator of all values: it would take room on C's stack, and a source may run a script that reads another.
    """
    try:
        value = source.next(machine)
    except EndOfSource:
        return END
    machine.step()
    return value


@function("list->source")
def list_to_source(list: list[Value]) -> Value:
    """Returns a source of the members of a list.

    => (next (list->source [1 2 3]))
    """
    return ListSource(list)


@function("across")
def across(*sources: Source) -> Value:
    """Returns a source of lists of the latest value of each source.

    No value is skipped, and not every combination is produced.

    => (next (across (list->source [0 2 4]) (list->source [1 3 5])))
    """
    return AcrossSource(list(sources))


@function("emit")
def emit(val: Value, sink: Sink, *, machine: Machine) -> Value:
    """Writes a value to a sink, and returns null.

    => (emit {:a 1} *stdout*)
    """
    sink.emit(val, machine)
    return None


@function("next")
def next_(src: Source, *default: Value, machine: Machine) -> Value:
    """Returns the next value of a source.

    After the last one, returns the default, or raises an error if there is none.

    => (next (list->source [1]) :none)
    """
    try:
        return src.next(machine)
    except EndOfSource:
        if default:
            return default[0]
        raise


@function("last")
def last(source: Source, *default: Value, machine: Machine) -> Value:
    """Returns the last value of a source.

    => (last (list->source [1 2 3]))
    """
    value = default[0] if default else source.next(machine)
    while (following := _next(source, machine)) is not END:
        value = following
    return value


@function("each")
def each(source: Source, f: Value, *, machine: Machine) -> Value:
    """Calls a function with every value of a source, and returns null.

    => (each (list->source [1 2 3]) log)
    """
    call = caller(f, machine, "n")
    while (value := _next(source, machine)) is not END:
        call([value])
    return None


@builtin("for", "[bindings & body]", operative=True, indent=True)
def for_(args: list[Value], scope: Scope, machine: Machine) -> Value:
    """Evaluates a body for the values of sources, bound to names as in [let], and returns null.

    [across] says how the values of several sources are combined.

    => (for [x (list->source [1 2 3])] (log "got" :x x))
    """
    forms = arguments.items(args[0], "for")
    if len(forms) % 2:
        raise bad_syntax(f"for: {brief(forms[-1])} has no source")
    patterns = [binder(form) for form in forms[::2]]
    source = AcrossSource(
        [arguments.source(code(form)(scope, machine), "for") for form in forms[1::2]]
    )
    body = body_code(args[1:])
    while (values := _next(source, machine)) is not END:
        inner = scope.child()
        for bind, value in zip(patterns, arguments.items(values, "for"), strict=True):
            mismatch = bind(inner, value, machine)
            if mismatch is not None:
                raise mismatch.error()
        machine.finish(body(inner, machine))
    return None


@builtin("take", "[n source]")
def take(args: list[Value], scope: Scope, machine: Machine) -> Value:
    """Returns a list of the next values of a source.

    => (take 2 (list->source [1 2 3]))
    """
    count = arguments.integer(args[0], "take")
    if count <= 0:
        return EMPTY
    source = arguments.source(args[1], "take")
    values = []
    for _ in range(count):
        machine.step()
        values.append(source.next(machine))
    return from_list(values)


@function("collect")
def collect(f: Value, source: Source, *, machine: Machine) -> Value:
    """Returns a list of what a function returns for every value of a source.

    => (collect (fn [n] (+ n 1)) (list->source [1 2 3]))
    """
    call = caller(f, machine, "n")
    results = []
    while (value := _next(source, machine)) is not END:
        results.append(call([value]))
    return from_list(results)


@function("take-all")
def take_all(source: Source, *, machine: Machine) -> Value:
    """Returns a list of all values of a source.

    => (take-all (list->source [1 2 3]))
    """
    values = []
    while (value := _next(source, machine)) is not END:
        values.append(value)
    return from_list(values)
