"""Scopes as data: making, merging and iterating over them; metadata."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bassloop.bass import arguments
from bassloop.bass.builtins.lists import caller
from bassloop.bass.registry import builtin
from bassloop.bass.values import MISSING, Bind, Scope, Symbol, WithMeta, from_list, plain

if TYPE_CHECKING:
    from bassloop.bass.machine import Machine
    from bassloop.bass.values import Value


@builtin(
    "make-scope", "parents",
    """Returns a new scope with these parents.

    => (:a (make-scope {:a 1} {:b 2}))""",
)  # fmt: skip
def make_scope(args: list[Value], scope: Scope, machine: Machine) -> Value:
    made = Scope()
    for each in args:
        machine.adopt(made, arguments.scope(each, "make-scope"))
    return made


@builtin(
    "merge", "scopes",
    """Returns a scope of everything that these scopes bind. The last one has precedence.

    => (merge {:a 1 :b 2} {:b :two})""",
)  # fmt: skip
def merge(args: list[Value], scope: Scope, machine: Machine) -> Value:
    return make_scope(args[::-1], scope, machine)


@builtin(
    "assoc", "[obj & kvs]",
    """Returns a copy of a scope with names bound to other values.

    => (assoc {:a 1} :b 2 :c 3)""",
)  # fmt: skip
def assoc(args: list[Value], scope: Scope, machine: Machine) -> Value:
    made = arguments.scope(args[0], "assoc").copy()
    names = [arguments.symbol(name, "assoc") for name in args[1::2]]
    made.vars.update(zip(names, args[2::2], strict=False))
    return made


@builtin(
    "list->scope", "[kwargs]",
    """Returns a scope of alternating names and values.

    => (list->scope [:a 1 :b 2])""",
)  # fmt: skip
def list_to_scope(args: list[Value], scope: Scope, machine: Machine) -> Value:
    return assoc([Scope(), *arguments.items(args[0], "list->scope")], scope, machine)


@builtin(
    "scope->list",
    "[obj]",
    "Returns a list of alternating names and values.\n\n=> (scope->list {:a 1 :b 2})",
)
def scope_to_list(args: list[Value], scope: Scope, machine: Machine) -> Value:
    flat: list[Value] = []
    for name, value in arguments.scope(args[0], "scope->list").items():
        flat += (Symbol(name), value)
    return from_list(flat)


@builtin("keys", "[scope]", "Returns the names that a scope binds.\n\n=> (keys {:a 1 :b 2})")
def keys(args: list[Value], scope: Scope, machine: Machine) -> Value:
    return from_list(map(Symbol, arguments.scope(args[0], "keys").names()))


@builtin("vals", "[scope]", "Returns the values that a scope binds.\n\n=> (vals {:a 1 :b 2})")
def vals(args: list[Value], scope: Scope, machine: Machine) -> Value:
    return from_list([value for _, value in arguments.scope(args[0], "vals").items()])


@builtin(
    "reduce-kv", "[f init kv]",
    """Combines the bindings of a scope, in order: calls `f` with the result so far, a name and its value.

    => (reduce-kv (fn [sum name value] (+ sum value)) 0 {:a 1 :b 2})""",
)  # fmt: skip
def reduce_kv(args: list[Value], scope: Scope, machine: Machine) -> Value:
    function = arguments.applicative(args[0], "reduce-kv")
    call = caller(function, machine)
    result = args[1]
    for name, value in arguments.scope(args[2], "reduce-kv").items():
        result = call([result, Symbol(name), value])
    return result


@builtin("binds?", "[scope sym]", "Returns whether a scope binds a name.\n\n=> (binds? {:x 1} :x)")
def binds(args: list[Value], scope: Scope, machine: Machine) -> Value:
    return (
        arguments.scope(args[0], "binds?").get(arguments.symbol(args[1], "binds?")) is not MISSING
    )


@builtin(
    "list->bind",
    "[list]",
    "Returns a `{…}` form of these members.\n\n=> (eval (list->bind [(quote :a) 1]) {})",
    shown="list->source",
)
def list_to_bind(args: list[Value], scope: Scope, machine: Machine) -> Value:
    return Bind(tuple(arguments.items(args[0], "list->bind")))


@builtin(
    "meta",
    "[val]",
    "Returns the metadata of a value, a scope, or null if it has none.\n\n=> (meta ^{:a 1} [])",
)
def meta(args: list[Value], scope: Scope, machine: Machine) -> Value:
    value = args[0]
    return value.meta if value.__class__ is WithMeta else None


@builtin(
    "with-meta", "[val meta]",
    """Returns a value with other metadata. Null leaves it as it is.

    => (meta (with-meta [] {:a 1}))""",
)  # fmt: skip
def with_meta(args: list[Value], scope: Scope, machine: Machine) -> Value:
    value, about = args
    if plain(about) is None:
        return value
    bare = value.value if value.__class__ is WithMeta else value
    return WithMeta(bare, arguments.scope(about, "with-meta"))
