"""An incremental JSON parser.

It's iterative, with a stack of the open arrays and objects, so the worst that any input can cause is a `BassError`,
however deeply it's nested.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, Literal

from bassloop.bass.errors import BassError
from bassloop.bass.values import INT_MAX, INT_MIN, Scope, Sentinel, bytes_of, from_list

if TYPE_CHECKING:
    from bassloop.bass.values import Value


MAX_DEPTH: Final = 10_000
MAX_WAITING: Final = 64 << 20
"""The maximum length of a string or number, in bytes."""


NEED_MORE: Final = Sentinel("NEED_MORE")
"""What `JSONStream.next` returns if the bytes so far have no further complete value."""
END: Final = Sentinel("END")
"""What `JSONStream.next` returns after the last value of a closed stream."""

_SPACE: Final = re.compile(rb"[ \t\r\n]*")
_NUMBER: Final = re.compile(rb"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_NUMBER_BEGUN: Final = re.compile(rb"-?(?:0|[1-9][0-9]*)(?:\.[0-9]*)?(?:[eE][+-]?[0-9]*)?")
_NUMBER_BYTES: Final = re.compile(rb"[-+.0-9eE]*")
_STRING_STOP: Final = re.compile(rb'["\\\x00-\x1f]')
_ESCAPE: Final = re.compile(r"\\(?:u([0-9a-fA-F]{4})|(.))", re.DOTALL)
_SURROGATES: Final = re.compile("([\ud800-\udbff])([\udc00-\udfff])|[\ud800-\udfff]")
_ESCAPES: Final = {
    '"': '"', "\\": "\\", "/": "/", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t",
}  # fmt: skip
_LITERALS: Final[dict[int, tuple[bytes, Value]]] = {
    ord("t"): (b"true", True),
    ord("f"): (b"false", False),
    ord("n"): (b"null", None),
}

_State = Literal["value", "first value", "key", "first key", "colon", "comma"]


class JSONStream:
    """A decoder of JSON values, one after another.

    Add bytes with `feed`, get values with `next`, and call `close` after the last bytes.
    """

    __slots__ = ("_at", "_before", "_closed", "_data", "_keys", "_open", "_resume", "_state")

    def __init__(self) -> None:
        self._data = bytearray()
        self._at = 0
        self._before = 0
        self._resume = 0
        self._closed = False
        self._open: list[list[Value] | dict[str, Value]] = []
        self._keys: list[str] = []
        self._state: _State = "value"

    def feed(self, data: bytes) -> None:
        """Add bytes."""
        if self._at > 65536:
            del self._data[: self._at]
            self._before += self._at
            self._resume = max(0, self._resume - self._at)
            self._at = 0
        self._data += data

    def close(self) -> None:
        """Mark the end of the bytes."""
        self._closed = True

    def next(self) -> Value | Sentinel:
        """Return the next value, `NEED_MORE`, or `END`.

        Raises `BassError` for invalid JSON, for a value that's nested too deep or too long, and if the bytes end within
        a value. Don't use the stream after an error.
        """
        data = self._data
        while True:
            self._at = _SPACE.match(data, self._at).end()  # type: ignore[union-attr]
            if self._at >= len(data):
                if not self._closed:
                    return NEED_MORE
                if self._open:
                    raise self._error("the text ends within a value")
                return END
            byte = data[self._at]
            state = self._state
            if state == "comma":
                self._at += 1
                if byte == 0x2C:
                    self._state = "value" if isinstance(self._open[-1], list) else "key"
                    continue
                value = self._end_container(byte)
            elif state == "colon":
                if byte != 0x3A:
                    raise self._unexpected(byte)
                self._at += 1
                self._state = "value"
                continue
            elif state == "key" or state == "first key":
                if byte == 0x7D and state == "first key":
                    self._at += 1
                    value = self._end_container(byte)
                elif byte == 0x22:
                    key = self._string()
                    if key is None:
                        return NEED_MORE
                    self._keys.append(key)
                    self._state = "colon"
                    continue
                else:
                    raise self._unexpected(byte)
            elif byte == 0x5D and state == "first value":
                self._at += 1
                value = self._end_container(byte)
            elif byte == 0x7B or byte == 0x5B:
                if len(self._open) >= MAX_DEPTH:
                    raise self._error(f"nested more than {MAX_DEPTH:,} levels deep")
                self._at += 1
                self._open.append({} if byte == 0x7B else [])
                self._state = "first key" if byte == 0x7B else "first value"
                continue
            else:
                value = self._scalar(byte)
                if value is NEED_MORE:
                    return NEED_MORE
            if not self._open:
                self._state = "value"
                return value
            container = self._open[-1]
            if isinstance(container, list):
                container.append(value)
            else:
                container[self._keys.pop()] = value
            self._state = "comma"

    def _end_container(self, byte: int) -> Value:
        """Return the array or object that this byte closes."""
        container = self._open[-1]
        if isinstance(container, list) and byte == 0x5D:
            self._open.pop()
            return from_list(container)
        if isinstance(container, dict) and byte == 0x7D:
            self._open.pop()
            return Scope(container)
        self._at -= 1
        raise self._unexpected(byte)

    def _scalar(self, byte: int) -> Any:
        data = self._data
        if byte == 0x22:
            text = self._string()
            return NEED_MORE if text is None else text
        if byte in _LITERALS:
            word, value = _LITERALS[byte]
            found = bytes(data[self._at : self._at + len(word)])
            if found == word:
                self._at += len(word)
                return value
            if word.startswith(found) and not self._closed:
                return NEED_MORE
            raise self._unexpected(byte)
        number = _NUMBER.match(data, self._at)
        end = _NUMBER_BYTES.match(data, self._at).end()  # type: ignore[union-attr]
        if end == len(data) and not self._closed and end > self._at:
            return self._wait()
        if number is None:
            raise self._unexpected(byte)
        if _NUMBER_BEGUN.match(data, self._at).end() > number.end():  # type: ignore[union-attr]
            raise self._error("a number is not complete")
        self._at = number.end()
        text = number[0].decode()
        if len(text) <= 20 and text.lstrip("-").isdigit() and INT_MIN <= int(text) <= INT_MAX:
            return int(text)
        return text

    def _string(self) -> str | None:
        """Return the string that begins here; None if it doesn't end yet."""
        data = self._data
        at = max(self._resume, self._at + 1)
        while True:
            stop = _STRING_STOP.search(data, at)
            if stop is None:
                self._unfinished(len(data))
                return None
            at = stop.start()
            if data[at] == 0x22:
                break
            if data[at] != 0x5C:
                self._at = at
                raise self._error(
                    "a string has a control character in it: write it as an escape sequence"
                )
            if at + 1 >= len(data):
                self._unfinished(at)
                return None
            at += 2
        text = bytes(data[self._at + 1 : at]).decode("utf-8", "replace")
        if "\\" in text:
            text = _SURROGATES.sub(_paired, _ESCAPE.sub(self._unescaped, text))
        self._at = at + 1
        self._resume = 0
        return text

    def _unescaped(self, found: re.Match[str]) -> str:
        if found[1]:
            return chr(int(found[1], 16))
        if found[2] not in _ESCAPES:
            raise self._error(f"there is no escape sequence \\{found[2]}")
        return _ESCAPES[found[2]]

    def _unfinished(self, at: int) -> None:
        if self._closed:
            raise self._error("the text ends within a string")
        self._resume = at
        self._wait()

    def _wait(self) -> Sentinel:
        if len(self._data) - self._at > MAX_WAITING:
            raise self._error(f"a value is longer than {MAX_WAITING >> 20} MiB")
        return NEED_MORE

    def _unexpected(self, byte: int) -> BassError:
        expected = {
            "comma": "a comma or the end of the array or object",
            "colon": "a colon",
            "key": "a key, which is a string",
            "first key": "a key, which is a string, or }",
            "value": "a value",
            "first value": "a value or ]",
        }[self._state]
        shown = chr(byte) if 0x20 <= byte < 0x7F else f"byte {byte:#04x}"
        return self._error(f"unexpected {shown}: expected {expected}")

    def _error(self, text: str) -> BassError:
        return BassError(f"JSON, at byte {self._before + self._at}: {text}")


def _paired(found: re.Match[str]) -> str:
    if found[1] is None:
        return "\ufffd"
    return chr(0x10000 + (ord(found[1]) - 0xD800) * 0x400 + ord(found[2]) - 0xDC00)


def read_json(text: str | bytes) -> Value:
    """Return the value of a JSON text. Objects become scopes, and numbers that aren't 64-bit integers strings.

    Raises `BassError`, with the position, if the text isn't exactly one JSON value or is nested too deep.
    """
    stream = JSONStream()
    stream.feed(bytes_of(text) if isinstance(text, str) else text)
    stream.close()
    value = stream.next()
    if value is END:
        raise BassError("JSON: there is no value in the text")
    if stream.next() is not END:
        raise BassError("JSON: there is more than one value in the text")
    return value
