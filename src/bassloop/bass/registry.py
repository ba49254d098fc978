"""The registry of builtins.

The modules under `builtins/` register functions with `@function`, `@builtin` and `@special_form` when they are
imported. `TABLE` is complete, and doesn't change any more, once the package `builtins` has been imported.
"""

from __future__ import annotations

import inspect
import re
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from bassloop.bass.arguments import CHECKS

if TYPE_CHECKING:
    from collections.abc import Callable

    from bassloop.bass.combiner import DottedFunction, Function
    from bassloop.bass.machine import Code, Machine
    from bassloop.bass.values import Scope, Value


@dataclass(slots=True)
class Combination:
    """A call of a special form, for its compiler.

    `if_shadowed` is the code to run instead if the form's name has been shadowed at run time; None if the call doesn't
    use the name.
    """

    name: str
    operands: list[Value]
    tail: bool
    if_shadowed: Code | None = None


Compiler: TypeAlias = "Callable[[Combination], Code]"


@dataclass(slots=True)
class BuiltinDefinition:
    """A builtin's implementation, number of arguments, and documentation.

    `tail_calls` is true if the function may return `TAIL`. `inline` is the Python operator that does the same with two
    integers. A special form has a `compiler`, which compiles a call, and a `function` that also runs it. If
    `checks_shadowing`, the compiled code itself checks whether the name has been shadowed. `indent` and `deprecated`
    (what to use instead) become metadata. `shown` is the name that it prints with.
    """

    name: str
    formals: str
    function: Function
    doc: str
    least: int
    most: int | None
    shown: str
    operative: bool = False
    tail_calls: bool = False
    indent: bool = False
    inline: str = ""
    deprecated: str = ""
    dotted: DottedFunction | None = None
    compiler: Compiler | None = None
    checks_shadowing: bool = False


TABLE: Final[dict[str, BuiltinDefinition]] = {}
"""The builtins of Ground, by name."""

INTERNAL: Final[dict[str, BuiltinDefinition]] = {}
"""Builtins that only modules of std see."""


def builtin(
    name: str,
    formals: str,
    *,
    operative: bool = False,
    tail_calls: bool = False,
    indent: bool = False,
    internal: bool = False,
    shown: str = "",
    count: int | None = None,
    inline: str = "",
    deprecated: str = "",
    dotted: DottedFunction | None = None,
) -> Callable[[Function], Function]:
    """Return a decorator that registers a function as a builtin. The function's docstring documents it to scripts.

    `formals` is written as in the language, and determines the number of arguments, unless `count` is given. `dotted`
    implements calls with an improper list of operands. See `BuiltinDefinition` for the other arguments.
    """
    least, most = arity_of(formals) if count is None else (count, count)

    def define(function: Function) -> Function:
        table = INTERNAL if internal else TABLE
        table[name] = BuiltinDefinition(
            name,
            formals,
            function,
            _documentation(function),
            least,
            most,
            shown or name,
            operative,
            tail_calls,
            indent,
            inline,
            deprecated,
            dotted,
        )
        return function

    return define


def function(
    name: str,
    *,
    where: str = "",
    tail_calls: bool = False,
    internal: bool = False,
    shown: str = "",
) -> Callable[[Callable[..., Value]], Function]:
    """Return a decorator that registers a function whose parameters are the builtin's arguments.

    The formals are the parameters' names, and their annotations determine how the arguments are checked (see
    `arguments.CHECKS`; `where` is the name in messages). Keyword-only parameters `scope` and `machine` get the caller's
    scope and the machine. The decorated name is what `builtin` registers, and is called with a list of arguments.
    """

    def define(python: Callable[..., Value]) -> Function:
        code, annotations = python.__code__, python.__annotations__
        fixed, others = code.co_varnames[: code.co_argcount], code.co_varnames[code.co_argcount :]
        context = others[: code.co_kwonlyargcount]
        formals = [parameter.rstrip("_").replace("_", "-") for parameter in fixed]
        checks = [CHECKS[annotations[parameter]] for parameter in fixed]
        variadic = bool(code.co_flags & inspect.CO_VARARGS)
        if variadic:
            rest = others[len(context)]
            formals += ("&", rest)
            checks.append(CHECKS[annotations[rest]])
        run = _adapter(len(fixed), variadic, context)(python, where or name, *checks)
        run.__module__, run.__doc__ = python.__module__, python.__doc__
        text = formals[1] if variadic and not fixed else f"[{' '.join(formals)}]"
        return builtin(name, text, tail_calls=tail_calls, internal=internal, shown=shown)(run)

    return define


@cache
def _adapter(count: int, variadic: bool, context: tuple[str, ...]) -> Callable[..., Function]:
    """Return a function that adapts a Python function with so many parameters, given the function and their checks."""
    given = [f"check{i}(args[{i}], where)" for i in range(count)]
    if variadic:
        given.append(f"*[check{count}(each, where) for each in args[{count}:]]")
    given += [f"{each}={each}" for each in context]
    names = ", ".join(["python", "where", *(f"check{i}" for i in range(count + variadic))])
    text = f"lambda {names}: lambda args, scope, machine: python({', '.join(given)})"
    adapt: Callable[..., Any] = eval(text)  # noqa: S307 - made of numbers and of names of Python's parameters
    return adapt


def special_form(
    name: str, formals: str, *, indent: bool = False, checks_shadowing: bool = False
) -> Callable[[Compiler], Compiler]:
    """Return a decorator that registers a function as the compiler of a special form.

    It's called once for each call that a program contains. If the form is called in another way (by `apply`, or in a
    scope that doesn't descend from Ground), it's called every time.
    """
    least, most = arity_of(formals)

    def define(compiler: Compiler) -> Compiler:
        def function(args: list[Value], scope: Scope, machine: Machine) -> Value:
            return compiler(Combination(name, args, tail=True))(scope, machine)

        function.__module__ = compiler.__module__
        TABLE[name] = BuiltinDefinition(
            name,
            formals,
            function,
            _documentation(compiler),
            least,
            most,
            name,
            operative=True,
            tail_calls=True,
            indent=indent,
            compiler=compiler,
            checks_shadowing=checks_shadowing,
        )
        return compiler

    return define


def _documentation(function: Callable[..., Any]) -> str:
    """Return a function's docstring, each of its paragraphs in one line. Those that begin with `=>` are examples."""
    paragraphs = (function.__doc__ or "").strip().split("\n\n")
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)


_NESTED: Final = re.compile(r"\([^()]*\)")


def arity_of(formals: str) -> tuple[int, int | None]:
    """Return the minimum and maximum number of arguments for formals (None if there's no maximum)."""
    if not formals.startswith("["):
        return 0, None
    while (shorter := _NESTED.sub("_", formals[1:-1])) != formals[1:-1]:
        formals = f"[{shorter}]"
    fixed, ampersand, _ = formals[1:-1].partition("&")
    least = len(fixed.split())
    return least, None if ampersand else least
