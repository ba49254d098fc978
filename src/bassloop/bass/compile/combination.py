"""Combinations, `(f x y)`, and path forms.

The head's value is only known at run time, and may be an operative, which receives its operands unevaluated. So the
operands are compiled when an applicative first needs their values.

There's one exception. A name of Ground that no scope below Ground has bound (`Machine.shadowed` contains those that
were) has the same value in every scope that descends from Ground (`Scope.grounded`). So a call of a builtin by its name
is compiled for that builtin. The code checks each time that the name hasn't been shadowed; otherwise, the general code
runs.

As closures that call closures, calls would be slow. Instead, Python code is generated for each shape of call: the
number of operands, whether it's in tail position, and so on. A shape is generated once, when it's first needed. Nothing
from a script becomes part of this code: names and forms are arguments of the generated function.
"""

from __future__ import annotations

import functools
from textwrap import indent
from typing import TYPE_CHECKING, Any

from bassloop.bass.combiner import Applicative, Operative, apply, apply_operands, as_combiner, call
from bassloop.bass.compile.code import COMPILED, code, operands_of
from bassloop.bass.errors import BassError
from bassloop.bass.machine import TAIL
from bassloop.bass.path import DirPath, ExtendPath
from bassloop.bass.registry import TABLE, Combination
from bassloop.bass.values import (
    EMPTY,
    INT_MAX,
    INT_MIN,
    MISSING,
    Located,
    Pair,
    Scope,
    Symbol,
    WithMeta,
    wrap_int,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from bassloop.bass.machine import Code, Machine
    from bassloop.bass.path import Path
    from bassloop.bass.registry import BuiltinDefinition
    from bassloop.bass.source_text import Range
    from bassloop.bass.values import Value


_GLOBALS = {
    each.__name__: each
    for each in (
        Applicative, BassError, Operative, Scope, WithMeta, apply, apply_operands, as_combiner, wrap_int
    )
} | {"INT_MAX": INT_MAX, "INT_MIN": INT_MIN, "MISSING": MISSING, "TAIL": TAIL}  # fmt: skip

_UNROLLED = 4
"""The maximum number of operands for which the generated code has a variable each."""

# --- the parts of shapes ---

_GUARD = """\
if not scope.grounded or name in machine.shadowed:
    return if_shadowed(scope, machine)
"""
_CAUGHT = """\
try:
{body}
except BassError as error:
    error.add_call(span)
    raise
"""
_HEAD_NAME = """\
combiner = scope.vars.get(name, MISSING)
if combiner is MISSING:
    parents = scope.parents
    if len(parents) == 1:
        combiner = parents[0].vars.get(name, MISSING)
    if combiner is MISSING:
        combiner = head(scope, machine)
"""
_HEAD = """\
combiner = head(scope, machine)
"""
_CALL = """\
while combiner.__class__ is WithMeta:
    combiner = combiner.value
if combiner.__class__ is Applicative:
{compile}
    inside = combiner.underlying
    if inside.__class__ is Operative and inside.count == {count}:
        names = inside.names
        inner = Scope({bindings}, inside.parents, inside.grounded)
{enter}
    else:
        result = apply(combiner, {arguments}, scope, machine)
else:
    result = apply_operands(as_combiner(combiner), operands, scope, machine)
"""
_ENTER_TAIL = """\
machine.tail_code = inside.run
machine.tail_scope = inner
return TAIL
"""
_ENTER = """\
machine.fuel -= 1
if machine.fuel < 0:
    machine.refuel()
result = inside.run(inner, machine)
"""
_RETURN_TAIL = """\
return result
"""
_RETURN = """\
return machine.finish(result) if result is TAIL else result
"""
_PARAMETER = """\
{variable} = scope.vars.get({operand}, MISSING)
if {variable} is MISSING:
    {variable} = {operand}_code(scope, machine)
"""
_SUM = """\
result = {a} {operator} {b}
return result if INT_MIN <= result <= INT_MAX else wrap_int(result)
"""
_COMPARISON = """\
return {a} {operator} {b}
"""
_ARITHMETIC = """\
{operands}
if {integers}:
{answer}
"""

# --- shapes ---


@functools.cache
def general_call(count: int, *, named: bool, tail: bool) -> Callable[..., Code]:
    """Return a function that compiles calls of `count` operands, for heads that aren't known before run time.

    The function's arguments are `name`, the head's name if it's a symbol (`named`); `head`, its code; the unevaluated
    `operands`; `compile`, which compiles them when an applicative first needs them; and `span`.
    """
    variables = _variables(count)
    arguments = _evaluated(count)
    if count <= _UNROLLED:
        pairs = (f"names[{i}]: {each}(scope, machine)" for i, each in enumerate(variables))
        bindings = f"{{{', '.join(pairs)}}}"
    else:
        bindings = f"dict(zip(names, {arguments}))"
    compile_operands = ""
    if variables:
        compile_operands = f"if {variables[0]} is None:\n    {_assigned(variables)} = compile()"
    body = (_HEAD_NAME if named else _HEAD) + _CALL.format(
        compile=indent(compile_operands, " " * 4),
        count=count,
        bindings=bindings,
        enter=indent(_ENTER_TAIL if tail else _ENTER, " " * 8),
        arguments=arguments,
    )
    body += _RETURN_TAIL if tail else _RETURN
    head = f"nonlocal {', '.join(variables)}\n" if variables else ""
    return _maker(
        f"a call with {count} operands",
        ("name", "head", "operands", "compile", "span"),
        head + _caught(body),
        "".join(f"{each} = None\n" for each in variables),
    )


@functools.cache
def builtin_call(count: int, *, finish: bool) -> Callable[..., Code]:
    """Return a function that makes the code of a call of an applicative builtin with `count` operands.

    Pass `finish` if the builtin may return `TAIL` and the call isn't in tail position. The function's arguments are
    `name`, `if_shadowed`, `span`, `function`, and `codes`, a list of the operands' code.
    """
    variables = _variables(count)
    return _maker(
        f"a builtin with {count} operands",
        ("name", "if_shadowed", "span", "function", "codes"),
        _GUARD + _caught(_result(f"function({_evaluated(count)}, scope, machine)", finish)),
        f"{_assigned(variables)} = codes\n" if variables else "",
    )


@functools.cache
def operative_call(*, finish: bool) -> Callable[..., Code]:
    """Return a function that makes the code of a call of an operative builtin.

    Its arguments are `name`, `if_shadowed`, `span`, `function`, and `operands`; `finish` is as in `builtin_call`.
    """
    return _maker(
        "an operative builtin",
        ("name", "if_shadowed", "span", "function", "operands"),
        _GUARD + _caught(_result("function(operands, scope, machine)", finish)),
    )


@functools.cache
def special_call() -> Callable[..., Code]:
    """Return a function that makes the code of a call of a special form.

    Its arguments are `name`, `if_shadowed`, `span`, and `compiled`, the special form's own code.
    """
    return _maker(
        "a special form",
        ("name", "if_shadowed", "span", "compiled"),
        _GUARD + _caught("return compiled(scope, machine)"),
    )


@functools.cache
def arithmetic_call(operator: str, first: str, second: str) -> Callable[..., Code]:
    """Return a function that makes the code of a call of a builtin that is a Python operator on two integers.

    An operand is a "number"; a "parameter", a name that is looked up inline; or "code". The function's arguments are
    `name`, `if_shadowed`, `span`, `function` (for operands that aren't integers), and for both operands the number or
    name, and the code.
    """
    operands, integers = "", []
    names = {"operator": operator, "a": "first", "b": "second"}
    for variable, operand, kind in (("a", "first", first), ("b", "second", second)):
        if kind == "number":
            continue
        names[variable] = variable
        integers.append(f"{variable}.__class__ is int")
        if kind == "parameter":
            operands += _PARAMETER.format(variable=variable, operand=operand)
        else:
            operands += f"{variable} = {operand}_code(scope, machine)\n"
    answer = _SUM if operator in ("+", "-") else _COMPARISON
    body = _ARITHMETIC.format(
        operands=operands,
        integers=" and ".join(integers) or "True",
        answer=indent(answer.format(**names), " " * 4),
    )
    otherwise = "return function([{a}, {b}], scope, machine)".format(**names)
    return _maker(
        f"{operator} of {first} and {second}",
        (
            "name",
            "if_shadowed",
            "span",
            "function",
            "first",
            "first_code",
            "second",
            "second_code",
        ),
        _GUARD + body + _caught(otherwise),
    )


def _variables(count: int) -> list[str]:
    """Return the variables for the operands' code: one each, or one for all if there are many."""
    return (
        [f"operand{number}" for number in range(count)] if count <= _UNROLLED else ["all_operands"]
    )


def _assigned(variables: list[str]) -> str:
    return variables[0] if variables == ["all_operands"] else f"{', '.join(variables)},"


def _evaluated(count: int) -> str:
    """Return the expression that evaluates the operands to a list."""
    if count > _UNROLLED:
        return "[operand(scope, machine) for operand in all_operands]"
    return f"[{', '.join(f'{each}(scope, machine)' for each in _variables(count))}]"


def _result(call: str, finish: bool) -> str:
    return f"result = {call}\n{_RETURN}" if finish else f"return {call}\n"


def _caught(body: str) -> str:
    return _CAUGHT.format(body=indent(body, " " * 4))


def _maker(
    title: str, parameters: tuple[str, ...], body: str, begin: str = ""
) -> Callable[..., Code]:
    """Return a function with these parameters that runs `begin`, and returns a closure with this body."""
    text = (
        f"def make({', '.join(parameters)}):\n"
        + indent(begin, " " * 4)
        + "    def run(scope, machine):\n"
        + indent(body, " " * 8)
        + "    return run\n"
    )
    namespace: dict[str, Any] = dict(_GLOBALS)
    exec(compile(text, f"<{title}>", "exec"), namespace)  # noqa: S102
    made: Callable[..., Code] = namespace["make"]
    return made


@COMPILED.of(Pair)
def _pair(form: Pair, tail: bool, span: Range | None) -> Code:
    head = _undocumented(form.a)
    if head.__class__ is Symbol and head.name in TABLE:
        return _call_of_builtin(TABLE[head.name], form, tail, span)
    return _general_call(form, tail, span)


def _undocumented(form: Value) -> Value:
    """Return a form without its `Located` wrapper, if that has no comment and no metadata."""
    if form.__class__ is Located and not form.comment and form.meta is None:
        return form.form
    return form


def _general_call(form: Pair, tail: bool, span: Range | None) -> Code:
    head = _undocumented(form.a)
    operands, rest = operands_of(form.d)
    name = head.name if head.__class__ is Symbol else None
    if rest is not EMPTY:
        return _dotted_call(form, tail, span)

    def compile_operands() -> list[Code]:
        return [code(operand) for operand in operands]

    make = general_call(len(operands), named=name is not None, tail=tail)
    return make(name, code(form.a), form.d, compile_operands, span)


def _dotted_call(form: Pair, tail: bool, span: Range | None) -> Code:
    """Compile `(f x & rest)`. The number of its operands isn't known before run time."""
    head, operands = code(form.a), form.d

    def run(scope: Scope, machine: Machine) -> Value:
        try:
            combiner = as_combiner(head(scope, machine))
            result = apply_operands(combiner, operands, scope, machine)
            return result if tail else machine.finish(result)
        except BassError as error:
            error.add_call(span)
            raise

    return run


def _call_of_builtin(
    definition: BuiltinDefinition, form: Pair, tail: bool, span: Range | None
) -> Code:
    operands, rest = operands_of(form.d)
    count, most = len(operands), definition.most
    if rest is not EMPTY or count < definition.least or (most is not None and count > most):
        return _general_call(form, tail, span)
    general: Code | None = None

    def if_shadowed(scope: Scope, machine: Machine) -> Value:
        nonlocal general
        if general is None:
            general = _general_call(form, tail, span)
        return general(scope, machine)

    name, function = definition.name, definition.function
    finish = definition.tail_calls and not tail
    if definition.compiler is not None:
        try:
            compiled = definition.compiler(Combination(name, operands, tail, if_shadowed))
        except BassError:
            return if_shadowed  # raises the error when it runs
        return (
            compiled
            if definition.checks_shadowing
            else special_call()(name, if_shadowed, span, compiled)
        )
    if definition.operative:
        return operative_call(finish=finish)(name, if_shadowed, span, function, operands)
    codes = [code(operand) for operand in operands]
    if definition.inline and count == 2:
        kinds, given = zip(*map(_operand_kind, operands), strict=True)
        make = arithmetic_call(definition.inline, *kinds)
        return make(name, if_shadowed, span, function, given[0], codes[0], given[1], codes[1])
    return builtin_call(count, finish=finish)(name, if_shadowed, span, function, codes)


def _operand_kind(operand: Value) -> tuple[str, Value]:
    """Return an operand's kind for `arithmetic_call`, and its number or name."""
    operand = _undocumented(operand)
    if operand.__class__ is int:
        return "number", operand
    if operand.__class__ is Symbol:
        return "parameter", operand.name
    return "code", None


@COMPILED.of(ExtendPath)
def _extend_path(form: Value, tail: bool, span: Range | None) -> Code:
    """Compile `parent/child`. A literal directory is extended at once, any other parent is called with the child."""
    children = []
    while isinstance(form, ExtendPath):
        children.append(form.child)
        form = form.parent
    children.reverse()
    if isinstance(form, DirPath):
        path: Path = form
        for child in children:
            path = path.extend(child)
        return lambda scope, machine: path
    root = code(form)

    def run(scope: Scope, machine: Machine) -> Value:
        try:
            value = root(scope, machine)
            for child in children:
                value = call(value, [child], machine, scope)
            return value
        except BassError as error:
            error.add_call(span)
            raise

    return run
