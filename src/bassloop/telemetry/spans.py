"""Spans: what took how long, and on whose behalf, for who follows one delivery through all its parts.

Parts say `with span("hook", ...)`, whether anybody listens or not. Who listens is found in the
context, which every task has from the one that started it; so there is nothing global, and where
nobody listens a span costs a look.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

Value = str | int | float | bool


class Span(Protocol):
    """A span under way."""

    def set_attribute(self, key: str, value: Value) -> None:
        """Say more of it."""


class Tracer(Protocol):
    """A tracer, which is notified of spans."""

    def span(
        self, name: str, attributes: Mapping[str, Value], trace: str | None
    ) -> AbstractContextManager[Span]:
        """A span, while the context lasts, within the one that the task is in.

        Args:
            trace: begin at the top of the trace of this name, instead.
        """

    def headers(self) -> dict[str, str]:
        """Return the headers that tell the other end of a call which span it is part of (W3C Trace Context)."""


class _Nobody:
    def set_attribute(self, key: str, value: Value) -> None:
        """Nobody listens."""


_tracer: ContextVar[Tracer | None] = ContextVar("bassloop.tracer", default=None)
_NOBODY: AbstractContextManager[Span] = nullcontext(_Nobody())


def span(
    name: str, *, trace: str | None = None, **attributes: Value
) -> AbstractContextManager[Span]:
    """Make the body one span. An exception that leaves it is noted on it."""
    tracer = _tracer.get()
    return _NOBODY if tracer is None else tracer.span(name, attributes, trace)


def headers() -> dict[str, str]:
    """Return the headers to send along with a call; none without a tracer."""
    tracer = _tracer.get()
    return {} if tracer is None else tracer.headers()


@contextmanager
def listening(tracer: Tracer) -> Iterator[None]:
    """While the context lasts, this task and all that it starts are traced."""
    token = _tracer.set(tracer)
    try:
        yield
    finally:
        _tracer.reset(token)
