"""Scopes as data: making, merging and iterating over them; metadata."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bassloop.bass import arguments
from bassloop.bass.builtins.lists import caller
from bassloop.bass.registry import builtin, function
from bassloop.bass.values import MISSING, Bind, Scope, Symbol, WithMeta, from_list, plain

if TYPE_CHECKING:
    from bassloop.bass.arguments import ApplicativeCombiner, SymbolName
    from bassloop.bass.machine import Machine
    from bassloop.bass.values import Value


@function("make-scope", """Returns a new scope with these parents.

    => (:a (make-scope {:a 1} {:b 2}))""")  # fmt: skip
def make_scope(*parents: Scope, machine: Machine) -> Value:
    made = Scope()
    for each in parents:
        machine.add_parent(made, each)
    return made


@builtin(
    "merge", "scopes",
    """Returns a scope of everything that these scopes bind. The last one has precedence.

    => (merge {:a 1 :b 2} {:b :two})""",
)  # fmt: skip
def merge(args: list[Value], scope: Scope, machine: Machine) -> Value:
    return make_scope(args[::-1], scope, machine)


@function("assoc", """Returns a copy of a scope with names bound to other values.

    => (assoc {:a 1} :b 2 :c 3)""")  # fmt: skip
def assoc(obj: Scope, *kvs: Value) -> Value:
    made = obj.copy()
    names = [arguments.symbol(name, "assoc") for name in kvs[::2]]
    made.vars.update(zip(names, kvs[1::2], strict=False))
    return made


@function("list->scope", """Returns a scope of alternating names and values.

    => (list->scope [:a 1 :b 2])""")  # fmt: skip
def list_to_scope(kwargs: list[Value], *, scope: Scope, machine: Machine) -> Value:
    return assoc([Scope(), *kwargs], scope, machine)


@function(
    "scope->list", "Returns a list of alternating names and values.\n\n=> (scope->list {:a 1 :b 2})"
)
def scope_to_list(obj: Scope) -> Value:
    flat: list[Value] = []
    for name, value in obj.items():
        flat += (Symbol(name), value)
    return from_list(flat)


@function("keys", "Returns the names that a scope binds.\n\n=> (keys {:a 1 :b 2})")
def keys(scope: Scope) -> Value:
    return from_list(map(Symbol, scope.names()))


@function("vals", "Returns the values that a scope binds.\n\n=> (vals {:a 1 :b 2})")
def vals(scope: Scope) -> Value:
    return from_list([value for _, value in scope.items()])


@function(
    "reduce-kv",
    """Combines the bindings of a scope, in order: calls `f` with the result so far, a name and its value.

    => (reduce-kv (fn [sum name value] (+ sum value)) 0 {:a 1 :b 2})""")  # fmt: skip
def reduce_kv(f: ApplicativeCombiner, init: Value, kv: Scope, *, machine: Machine) -> Value:
    call = caller(f, machine)
    for name, value in kv.items():
        init = call([init, Symbol(name), value])
    return init


@function("binds?", "Returns whether a scope binds a name.\n\n=> (binds? {:x 1} :x)")
def binds(scope: Scope, sym: SymbolName) -> Value:
    return scope.get(sym) is not MISSING


@function("list->bind", """Returns a `{…}` form of these members.

    => (eval (list->bind [(quote :a) 1]) {})""", shown="list->source")  # fmt: skip
def list_to_bind(list: list[Value]) -> Value:
    return Bind(tuple(list))


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
