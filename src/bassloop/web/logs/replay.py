"""A log as a recording that plays at its own speed: asciicast v2, which asciinema plays. Pure."""

from __future__ import annotations

import codecs
import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bassloop.store import LogPiece

COLUMNS, ROWS = 160, 50

IDLE_SECONDS = 3
"""Longer pauses are cut to this by players."""


class Recording:
    """The lines of a recording, made from a log's pieces in their order.

    Args:
        title: the step's name.
    """

    def __init__(self, title: str) -> None:
        self._title = title
        self._began: float | None = None
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._after_return = False

    def add(self, piece: LogPiece) -> str:
        """Return the lines for the next piece; before those for the first one, the header."""
        header = ""
        if self._began is None:
            self._began = piece.at
            header = self._header(piece.at)
        text = self._decoder.decode(piece.data)
        if not text:
            return header
        event = [round(max(piece.at - self._began, 0), 3), "o", self._with_returns(text)]
        return f"{header}{json.dumps(event)}\n"

    def _header(self, at: float) -> str:
        header = {
            "version": 2,
            "width": COLUMNS,
            "height": ROWS,
            "timestamp": int(at),
            "idle_time_limit": IDLE_SECONDS,
            "title": self._title,
        }
        return f"{json.dumps(header)}\n"

    def _with_returns(self, text: str) -> str:
        """Return a text whose lines end as a terminal needs it: a command wrote them to a pipe."""
        starts_after_return, self._after_return = self._after_return, text.endswith("\r")
        found = text.replace("\r\n", "\n").replace("\n", "\r\n")
        if starts_after_return and text.startswith("\n"):
            return found[1:]
        return found
