"""Display a run's logs in a terminal or a pipe.

Settled lines are printed once. In a terminal, the lines that a program may still rewrite (a progress bar, the last
lines of anything) are drawn below them, cut to the terminal's width, and redrawn with each change. A pipe gets lines as
soon as they're complete.

A log's escape sequences aren't passed on. Colours, attributes and links to web pages are generated anew; with `colour`
off, only text is printed.
"""

from __future__ import annotations

import shutil
from collections import defaultdict
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

from bassloop.lifecycle import RunState
from bassloop.terminal import restyle, strip

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence


class TextOutput(Protocol):
    """A file that text is written to."""

    def write(self, text: str, /) -> object: ...
    def flush(self) -> object: ...


class OutputError(Exception):
    """The output can't be written any more.

    `closed` is true if its reader has gone, which isn't a failure.
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


class PrintedLog:
    """The part of a log that was printed to a pipe, where printed lines can't be changed.

    A line is printed as soon as it's complete, although a program could still move up and rewrite it, since hardly any
    does that without a terminal. If one does, that line and those after it are printed again when they have settled,
    and no other line of that log before then. So each line of the stored log is printed, in order.

    Args:
        settled: how many settled lines were passed to :meth:`settle`.
    """

    def __init__(self) -> None:
        self.settled = 0
        self._previewed: dict[int, bytes] = {}
        self._is_rewritten = False

    def settle(self, lines: Sequence[bytes]) -> list[bytes]:
        """Return which of the next settled lines must be printed."""
        printed = []
        for number, line in enumerate(lines, self.settled):
            if self._previewed.pop(number, None) != line:
                self._previewed.clear()  # what comes after this line must be printed after it
                printed.append(line)
        self.settled += len(lines)
        return printed

    def preview(self, first: int, lines: Sequence[bytes], *, ended: bool) -> list[bytes]:
        """Return which of the lines that may still change, but probably won't, must be printed.

        Args:
            first: the number of the first line.
            ended: the program has ended, so they won't change.
        """
        if first > self.settled:  # the lines in between aren't stored yet
            return []
        previewed = self._previewed
        numbered = [pair for pair in enumerate(lines, first) if pair[0] >= self.settled]
        for changed, line in numbered:
            if previewed.get(changed, line) != line:
                self._is_rewritten = True
                self._previewed = previewed = {n: previewed[n] for n in previewed if n < changed}
                break
        if self._is_rewritten and not ended:
            return []
        fresh = {number: line for number, line in numbered if number not in previewed}
        previewed.update(fresh)
        return list(fresh.values())


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
        self._lossy: set[int] = set()
        self._screens: dict[int, list[str]] = {}
        self._printed: defaultdict[int, PrintedLog] = defaultdict(PrintedLog)
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
            if step.get("log_cut"):
                self._lossy.add(step["row"])
        self._clear()
        for log in message.get("logs", ()):
            if self._internal or log["row"] not in self._hidden:
                self._print(log)
        if self._live and self.state in (RunState.QUEUED, RunState.RUNNING):
            self._draw()

    def lossy(self, only: Sequence[int] | None = None) -> list[str]:
        """Return the names of the steps whose logs were shown and end early, because the rest is lost.

        Args:
            only: the rows of the steps that were asked for; None for all.
        """
        shown = self._lossy if self._internal else self._lossy - self._hidden
        return [self._names[row] for row in sorted(shown) if only is None or row in only]

    def close(self) -> None:
        """Clear the lines that never settled. Raises OutputError."""
        with _output_errors():
            self._clear()
            self._output.flush()

    def _print(self, log: dict[str, Any]) -> None:
        row = log["row"]
        self._screens[row] = log["screen"]
        lines = [line.encode(errors="replace") for line in log["lines"]]
        if not self._live:
            printed = self._printed[row]
            lines = printed.settle(lines)
            # Older loops don't report which lines are complete.
            screen = [line.encode(errors="replace") for line in log["screen"]]
            whole = int(log.get("screen_whole", 0))
            screen += [b""] * (whole - len(screen))
            lines += printed.preview(int(log.get("screen_start", 0)), screen[:whole], ended=False)
        if not lines:
            return
        if self._with_names and row != self._row:
            self._output.write(f"{'' if self._row is None else chr(10)}{self._heading(row)}\n")
        self._row = row
        show = restyle if self._colour else strip
        self._output.write("".join(f"{show(line)}\n" for line in lines))

    def _heading(self, row: int) -> str:
        name = f"==> {self._names.get(row, f'step {row}')} <=="
        return f"\x1b[1m{name}\x1b[0m" if self._colour else name

    def _draw(self) -> None:
        """Draw as many of the screens' last lines as fit the terminal."""
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
