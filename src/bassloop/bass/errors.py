"""What goes wrong in a script: an object with the facts, made into text when it is shown."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bassloop.bass.values import Range

MAX_FRAMES = 20


class BassError(Exception):
    """A script's error.

    Args:
        message: what is wrong, for the script's author.
        range: where, when it is known.
        fields: what `(error …)` was given beside its message.
    """

    def __init__(
        self,
        message: str,
        range: Range | None = None,
        fields: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.range = range
        self.fields = fields or {}
        self.frames: list[Range] = []
        self.more_frames = 0

    def at(self, where: Range | None) -> None:
        """Note a call that the error passes through, from the inside out."""
        if where is None:
            return
        if self.range is None:
            self.range = where
        elif len(self.frames) < MAX_FRAMES:
            self.frames.append(where)
        else:
            self.more_frames += 1

    def render(self) -> str:
        """The message with the line that it is about, marked, and the calls that led there."""
        from bassloop.bass.printer import show

        lines = [f"error: {self.message}"]
        lines += [f"  {name}: {show(value)}" for name, value in self.fields.items()]
        if self.range is not None:
            lines += _excerpt(self.range)
        for frame in self.frames:
            lines.append(f"  called at {frame}: {_line(frame).strip()[:100]}")
        if self.more_frames:
            lines.append(f"  … and {self.more_frames} more")
        return "\n".join(lines)


class ReadError(BassError):
    """A text that is not Bass."""


class BudgetExceeded(BassError):
    """A script took more than it may; the message names the budget and the setting."""


def _line(where: Range) -> str:
    lines = where.source.text.splitlines()
    return lines[where.line - 1] if 0 < where.line <= len(lines) else ""


def _excerpt(where: Range) -> list[str]:
    """The line, with the range under it marked, as compilers do."""
    line, number = _line(where), str(where.line)
    margin = " " * len(number)
    end = where.end_column if where.end_line == where.line else len(line) + 1
    start = min(where.column, len(line) + 1)
    marks = " " * (start - 1) + "^" * max(1, min(end, len(line) + 1) - start)
    return [
        f"{margin}--> {where}",
        f"{margin} |",
        f"{number} | {line.replace(chr(9), ' ')[:200]}",
        f"{margin} | {marks[:200]}",
    ]
