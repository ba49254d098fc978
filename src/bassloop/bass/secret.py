"""Secrets: strings that a script may pass on by name and nobody gets to see."""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING, NoReturn, final

from bassloop.bass.values import Object, Text, Value

if TYPE_CHECKING:
    from collections.abc import Iterator


@final
class Secret(Object):
    """A masked string. It prints, encodes and leaves as its name alone; even its length is kept.

    `reveal` is for the host that hands it to a command that runs on this machine.
    """

    __slots__ = ("_value", "name")
    kind = "secret"

    def __init__(self, name: str, value: bytes | None = None) -> None:
        self.name = name
        self._value = value

    def reveal(self) -> bytes | None:
        """The value; None if it is not known here, as for a secret out of a message."""
        return self._value

    def parts(self) -> Iterator[Text | Value]:
        yield Text(f"<secret: {self.name}>")

    def json_parts(self) -> Iterator[Text | Value]:
        if not self.name:
            yield Text("{}")
            return
        yield Text('{"name":')
        yield self.name
        yield Text("}")

    def same(self, other: Value, pending: list[tuple[Value, Value]]) -> bool:
        return hmac.compare_digest(self._value or b"", other.reveal() or b"")

    def __reduce__(self) -> NoReturn:
        raise TypeError("secrets are not pickled")
