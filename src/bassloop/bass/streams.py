"""Sources and sinks: values that come one after the other, and where they go."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from bassloop.bass.values import Value


class EndOfSource(Exception):
    """There are no more values."""


class Source:
    """Values that come one after the other. `following` awaits the next, or raises EndOfSource."""

    def __init__(self, following: Callable[[], Awaitable[Value]], name: str = "source") -> None:
        self.following = following
        self.name = name

    def __str__(self) -> str:
        return f"<source: {self.name}>"


class Sink:
    """Where values go. `emit` awaits until one is taken."""

    def __init__(self, emit: Callable[[Value], Awaitable[None]], name: str = "sink") -> None:
        self.emit = emit
        self.name = name

    def __str__(self) -> str:
        return f"<sink: {self.name}>"


def source_of(values: Iterable[Value], name: str = "source") -> Source:
    """A source of values that are there already."""
    iterator = iter(values)

    async def following() -> Any:
        for value in iterator:
            return value
        raise EndOfSource

    return Source(following, name)
