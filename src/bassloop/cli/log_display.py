"""Displays a run's logs in a terminal or a pipe.

Settled lines are printed once. In a terminal, the lines that a program may still rewrite (a progress bar, the last
lines of anything) are drawn below them, cut to the terminal's width, and redrawn with each change; a pipe gets lines
once they are settled.

A log's escape sequences are not passed on: colours, attributes and links to web pages are written anew, or with
`colour` off nothing but text.
"""

from __future__ import annotations

import shutil
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

from bassloop.lifecycle import RunState
from bassloop.terminal import restyle, strip

if TYPE_CHECKING:
    from collections.abc import Generator


class TextOutput(Protocol):
    """A file that text is written to."""

    def write(self, text: str, /) -> object: ...
    def flush(self) -> object: ...


class OutputError(Exception):
    """The output can't be written any more.

    `closed` is true if its reader has gone, which is no fault.
    """

    def __init__(self, error: OSError) -> None:
        super().__init__(f"the output can't be written: {error.strerror or error}")
        self.closed = isinstance(error, BrokenPipeError)


@contextmanager
def _output_errors() -> Generator[None]:
    try:
        yield
    except OSError as error:
        raise OutputError(error) from error


class LogDisplay:
    """Shows the messages of a `LogFeed`.

    Args:
        colour: keep colours, attributes and links.
        live: the output is a terminal, in which lines can be redrawn.
        names: print a step's name before its lines.
        internal: include the logs of steps that pages hide.
    """

    def __init__(
        self, output: TextOutput, *, colour: bool, live: bool, names: bool, internal: bool
    ) -> None:
        self._output = output
        self._colour = colour
        self._live = live
        self._with_names = names
        self._internal = internal
        self._names: dict[int, str] = {}
        self._hidden: set[int] = set()
        self._screens: dict[int, list[str]] = {}
        self._row: int | None = None
        self._drawn = 0
        self.state: str = RunState.QUEUED

    def __call__(self, message: dict[str, Any]) -> None:
        """Show what is new. Raises OutputError."""
        with _output_errors():
            self._show(message)
            self._output.flush()

    def _show(self, message: dict[str, Any]) -> None:
        if run := message.get("run"):
            self.state = str(run["state"])
        for step in message.get("vertexes", ()):
            self._names[step["row"]] = strip(str(step["name"]).encode(errors="replace"))
            if step.get("hidden"):
                self._hidden.add(step["row"])
        self._clear()
        for log in message.get("logs", ()):
            if self._internal or log["row"] not in self._hidden:
                self._print(log)
        if self._live and self.state in (RunState.QUEUED, RunState.RUNNING):
            self._draw()

    def close(self) -> None:
        """Clear the lines that never settled. Raises OutputError."""
        with _output_errors():
            self._clear()
            self._output.flush()

    def _print(self, log: dict[str, Any]) -> None:
        row = log["row"]
        self._screens[row] = log["screen"]
        if not log["lines"]:
            return
        if self._with_names and row != self._row:
            self._output.write(f"{'' if self._row is None else chr(10)}{self._heading(row)}\n")
        self._row = row
        show = restyle if self._colour else strip
        self._output.write(
            "".join(f"{show(line.encode(errors='replace'))}\n" for line in log["lines"])
        )

    def _heading(self, row: int) -> str:
        name = f"==> {self._names.get(row, f'step {row}')} <=="
        return f"\x1b[1m{name}\x1b[0m" if self._colour else name

    def _draw(self) -> None:
        """Draw the last lines of the screens, as many as the terminal has room for."""
        size = shutil.get_terminal_size()
        lines: list[str] = []
        for row, screen in self._screens.items():
            if screen and self._with_names and row != self._row:
                lines.append(self._heading(row))
            lines += [self._cut(line, size.columns) for line in screen]
        lines = lines[-max(1, size.lines - 1) :]
        self._output.write("".join(f"{line}\n" for line in lines))
        self._drawn = len(lines)

    def _cut(self, line: str, columns: int) -> str:
        shown = restyle(line.encode(errors="replace"), columns)
        return shown if self._colour else strip(shown.encode())

    def _clear(self) -> None:
        if self._drawn:
            self._output.write(f"\x1b[{self._drawn}F\x1b[J")
            self._drawn = 0
