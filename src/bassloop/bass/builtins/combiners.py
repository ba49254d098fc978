"""Making combiners from patterns and bodies, and wrapping and unwrapping them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bassloop.bass.builtins.control import bound_form
from bassloop.bass.combiner import Applicative, Builtin, Operative, OperativePlan, unwrap
from bassloop.bass.compile.code import lazy_code
from bassloop.bass.compile.patterns import binder, parameters
from bassloop.bass.errors import bad_syntax, brief
from bassloop.bass.registry import TABLE, function, special_form
from bassloop.bass.values import IGNORE, Pair, Symbol, from_list, plain

if TYPE_CHECKING:
    from collections.abc import Callable

    from bassloop.bass.arguments import ApplicativeCombiner
    from bassloop.bass.machine import Code, Machine
    from bassloop.bass.registry import Combination
    from bassloop.bass.values import Combiner, Scope, Value

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


@special_form(
    "op", "[formals eformal & body]",
    """Makes an operative: a combiner that takes its operands as they are written.

    `formals` is the pattern for the list of operands, `eformal` the pattern for the scope of the caller.

    => ((op [form] scope [form (eval form scope)]) (* 6 7))""",
    indent=True,
)  # fmt: skip
def op(form: Combination) -> Code:
    formals, scope_formal, *body = form.operands
    return plan_operative(formals, scope_formal, body)


@special_form(
    "fn", "[formals & body]",
    """Makes a function: a combiner that evaluates its operands.

    => ((fn [x y] (* x y)) 6 7)

    => ((fn args (length args)) :a :b :c)""",
    indent=True,
)  # fmt: skip
def fn(form: Combination) -> Code:
    close = plan_operative(form.operands[0], IGNORE, form.operands[1:])
    return lambda scope, machine: Applicative(close(scope, machine))


@special_form(
    "defop", "[name formals eformal & body]",
    """Makes an operative and binds it to a name, which it returns.

    A comment in front of it becomes its documentation.

    => (do (defop twice [form] scope (do (eval form scope) (eval form scope))) (twice (log "hey")))""",
    indent=True,
)  # fmt: skip
def defop(form: Combination) -> Code:
    name, formals, scope_formal, *body = form.operands
    return _definition(name, plan_operative(formals, scope_formal, body))


@special_form(
    "defn", "[name formals & body]",
    """Makes a function and binds it to a name, which it returns.

    A comment in front of it becomes its documentation.

    => (do (defn double [x] (* x 2)) (double 21))""",
    indent=True,
)  # fmt: skip
def defn(form: Combination) -> Code:
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


@function("wrap", """Makes an applicative, which evaluates its operands and calls the combiner with the values.

    => ((wrap quote) (* 6 7))""")  # fmt: skip
def wrap(comb: Combiner) -> Value:
    return Applicative(comb)


@function(
    "unwrap", "Returns the combiner inside an applicative, which doesn't evaluate its operands."
)
def unwrap_(app: ApplicativeCombiner) -> Value:
    return unwrap(app)
