"""What somebody who embeds the language needs beside sessions: functions of his own, and scopes."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from bassloop.bass.combiner import Builtin, Wrapped
from bassloop.bass.errors import BassError
from bassloop.bass.reader import read_source
from bassloop.bass.registry import bounds
from bassloop.bass.scope import MISSING, Scope

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from bassloop.bass.machine import Machine
    from bassloop.bass.values import Value


def builtin(name: str, formals: str, function: Callable[..., Any]) -> Value:
    """A function of the language, made of a Python function that takes its arguments as values.

    `formals` is written as in the language, and says how many arguments there may be. What the function
    returns is the result; an awaitable is awaited, under the session's driver, while the script waits. It
    raises `BassError` for what is the script's to hear.
    """

    def call(args: list[Value], scope: Scope, machine: Machine) -> Value:
        result = function(*args)
        return machine.wait(result) if inspect.isawaitable(result) else result

    least, most = bounds(formals)
    return Wrapped(Builtin(name, read_source(formals, name)[0].form, call, least, most))


def scope(bindings: Mapping[str, Value]) -> Scope:
    """A scope of these bindings."""
    return Scope(dict(bindings))


def binding(module: Scope, name: str, where: str) -> Value:
    """What a module itself binds to a name. Raises `BassError` that says how to bind it."""
    value = module.vars.get(name, MISSING)
    if value is MISSING:
        raise BassError(f"{where} does not bind {name}; add (defn {name} […] …) to it")
    return value
