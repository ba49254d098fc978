"""Embedding the language in a Python program: sessions without an event loop, functions in Python, scopes."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, TypeVar

from bassloop.bass.combiner import Applicative, Builtin
from bassloop.bass.errors import BassError
from bassloop.bass.reader import read_source
from bassloop.bass.registry import arity_of
from bassloop.bass.session import Session
from bassloop.bass.values import MISSING, Scope

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Mapping

    from bassloop.bass.host import ByteStream, Host
    from bassloop.bass.machine import Budget, Machine
    from bassloop.bass.session import SessionEvent, Task
    from bassloop.bass.values import Value

T = TypeVar("T")


def immediate_session(host: Host, budget: Budget | None = None) -> Session:
    """Return a session whose coroutines never wait, if the host's don't: run them with `run_now`."""
    return Session(host, Immediate(), budget)


def run_now(coroutine: Coroutine[Any, Any, T]) -> T:
    """Return the result of a coroutine that never has to wait. Raises `RuntimeError` if it does."""
    try:
        coroutine.send(None)
    except StopIteration as done:
        result: T = done.value
        return result
    coroutine.close()
    raise RuntimeError("this has to wait for something: evaluate it in a session that Trio drives")


def builtin(name: str, formals: str, function: Callable[..., Any]) -> Value:
    """Return a function of the language that calls a Python function with the arguments, which are values.

    `formals` is written as in the language, and determines the number of arguments. If the function returns an
    awaitable, the session's driver awaits it while the script waits. Raise `BassError` for invalid arguments.
    """

    def call(args: list[Value], scope: Scope, machine: Machine) -> Value:
        result = function(*args)
        return machine.wait(result) if inspect.isawaitable(result) else result

    least, most = arity_of(formals)
    return Applicative(Builtin(name, read_source(formals, name)[0].form, call, least, most))


def scope(bindings: Mapping[str, Value]) -> Scope:
    """Return a scope with these bindings."""
    return Scope(dict(bindings))


def binding(module: Scope, name: str, where: str, advice: str | None = None) -> Value:
    """Return the value that a module itself binds to a name. Raises `BassError` if it doesn't.

    Args:
        where: what to call the module in the error.
        advice: what the error says that its author should do; by default, to define the name.
    """
    value = module.vars.get(name, MISSING)
    if value is MISSING:
        advice = advice or f"add (defn {name} […] …) to it"
        raise BassError(f"{where} does not bind {name}; {advice}")
    return value


class Immediate:
    """A driver without an event loop. It does background work immediately."""

    async def checkpoint(self) -> None:
        return

    def spawn(self, work: Callable[[], Awaitable[None]]) -> Task:
        async def begin() -> None:
            await work()

        run_now(begin())
        return _Done()

    def open(self, stream: ByteStream) -> Callable[[], Awaitable[bytes]]:
        async def read() -> AsyncGenerator[bytes]:
            async with stream as pieces:
                async for piece in pieces:
                    if piece:
                        yield piece

        generator = read()
        return lambda: anext(generator, b"")

    def event(self) -> SessionEvent:
        return _Never()


class _Done:
    async def wait(self) -> None:
        return


class _Never:
    """An event that can't be waited for: a fiber of such a session runs to its end before others continue."""

    def set(self) -> None:
        return

    async def wait(self) -> None:
        raise BassError("a module loads itself, in a handler that it has started")
