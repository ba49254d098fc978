"""Spans, which trace a delivery through all parts of the loop.

Code says `with span("hook", ...)`, whether spans are exported or not. The tracer is found in a context variable,
which a task inherits from the one that started it. So there is nothing global, and without a tracer a span costs one
lookup.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

Value = str | int | float | bool


class Span(Protocol):
    """An open span."""

    def set_attribute(self, key: str, value: Value) -> None:
        """Add an attribute."""


class Tracer(Protocol):
    """A tracer, which records spans."""

    def span(
        self, name: str, attributes: Mapping[str, Value], trace: str | None
    ) -> AbstractContextManager[Span]:
        """Open a span in the context, as a child of the current one.

        Args:
            trace: the id of a delivery whose trace the span starts, instead.
        """

    def headers(self) -> dict[str, str]:
        """Return the headers that pass the current span on in a call (W3C Trace Context)."""


class _Nobody:
    def set_attribute(self, key: str, value: Value) -> None:
        """Nobody listens."""


_tracer: ContextVar[Tracer | None] = ContextVar("bassloop.tracer", default=None)
_NOBODY: AbstractContextManager[Span] = nullcontext(_Nobody())


def span(
    name: str, *, trace: str | None = None, **attributes: Value
) -> AbstractContextManager[Span]:
    """Record the body as a span, and an exception that it raises."""
    tracer = _tracer.get()
    return _NOBODY if tracer is None else tracer.span(name, attributes, trace)


def headers() -> dict[str, str]:
    """Return the headers that pass the current span on in a call; none without a tracer."""
    tracer = _tracer.get()
    return {} if tracer is None else tracer.headers()


@contextmanager
def listening(tracer: Tracer) -> Iterator[None]:
    """Trace this task, and all tasks that it starts, in the context."""
    token = _tracer.set(tracer)
    try:
        yield
    finally:
        _tracer.reset(token)
