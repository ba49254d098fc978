"""How a run's logs are shown in a terminal, and in a pipe.

Lines that are settled are printed once. In a terminal, those that a program may still rewrite (a
progress bar, the last lines of anything) are drawn below them and drawn anew with each change, each
cut to the terminal's width; a pipe gets lines when they are settled.

What a log says to a terminal is not passed on: colours, attributes and links to web pages are, made
anew, or with `colour` off nothing but text.
"""

from __future__ import annotations

import shutil
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

from bassloop.terminal import restyle, strip

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence


class Output(Protocol):
    """Where it goes."""

    def write(self, text: str, /) -> object: ...
    def flush(self) -> object: ...


class OutputError(Exception):
    """Nothing can be written any more; `closed` says whether nobody reads it, which is no fault."""

    def __init__(self, error: OSError) -> None:
        super().__init__(f"the output can't be written: {error.strerror or error}")
        self.closed = isinstance(error, BrokenPipeError)


@contextmanager
def _written() -> Generator[None]:
    try:
        yield
    except OSError as error:
        raise OutputError(error) from error


class LogDisplay:
    """Called with each message of a `LogFeed`.

    Args:
        colour: keep colours, attributes and links.
        live: `output` is a terminal, in which lines can be drawn anew.
        names: say before a log's lines whose they are.
        internal: show the logs of vertexes that pages hide, too.
    """

    def __init__(
        self, output: Output, *, colour: bool, live: bool, names: bool, internal: bool
    ) -> None:
        self._output = output
        self._colour = colour
        self._live = live
        self._named = names
        self._internal = internal
        self._names: dict[int, str] = {}
        self._hidden: set[int] = set()
        self._screens: dict[int, list[str]] = {}
        self._row: int | None = None
        self._drawn = 0
        self.state = "queued"
        self.message: str | None = None

    def __call__(self, news: dict[str, Any]) -> None:
        """Show what is new. Raises OutputError."""
        with _written():
            self._show(news)
            self._output.flush()

    def _show(self, news: dict[str, Any]) -> None:
        if run := news.get("run"):
            self.state, self.message = str(run["state"]), run.get("message")
        for vertex in news.get("vertexes", ()):
            self._names[vertex["row"]] = strip(str(vertex["name"]).encode(errors="replace"))
            if vertex.get("hidden"):
                self._hidden.add(vertex["row"])
        self._clear()
        for log in news.get("logs", ()):
            if self._internal or log["row"] not in self._hidden:
                self._log(log)
        if self._live and self.state in ("queued", "running"):
            self._draw()

    def close(self) -> None:
        """Take away what was drawn and never settled. Raises OutputError."""
        with _written():
            self._clear()
            self._output.flush()

    def _log(self, log: dict[str, Any]) -> None:
        row = log["row"]
        self._screens[row] = log["screen"]
        if not log["lines"]:
            return
        if self._named and row != self._row:
            self._output.write(f"{'' if self._row is None else chr(10)}{self._heading(row)}\n")
        self._row = row
        show = restyle if self._colour else strip
        self._output.write(
            "".join(f"{show(line.encode(errors='replace'))}\n" for line in log["lines"])
        )

    def _heading(self, row: int) -> str:
        name = f"==> {self._names.get(row, f'vertex {row}')} <=="
        return f"\x1b[1m{name}\x1b[0m" if self._colour else name

    def _draw(self) -> None:
        """Draw the screens, as far as the terminal has room: their last lines."""
        size = shutil.get_terminal_size()
        lines: list[str] = []
        for row, screen in self._screens.items():
            if screen and self._named and row != self._row:
                lines.append(self._heading(row))
            lines += [self._fitted(line, size.columns) for line in screen]
        lines = lines[-max(1, size.lines - 1) :]
        self._output.write("".join(f"{line}\n" for line in lines))
        self._drawn = len(lines)

    def _fitted(self, line: str, columns: int) -> str:
        shown = restyle(line.encode(errors="replace"), columns)
        return shown if self._colour else strip(shown.encode())

    def _clear(self) -> None:
        if self._drawn:
            self._output.write(f"\x1b[{self._drawn}F\x1b[J")
            self._drawn = 0


def chosen(vertexes: Sequence[dict[str, Any]], wanted: str) -> int:
    """The row of the vertex that somebody means: by its row, its name, its digest, or a part of its
    name that no other has.

    Raises ValueError, whose message lists what there is, when that is none or several.
    """
    row = wanted.removeprefix("v")
    exact = [each for each in vertexes if wanted in (each["name"], each["digest"])]
    found = (
        [each for each in vertexes if str(each["row"]) == row]
        or exact
        or [each for each in vertexes if wanted in each["name"]]
    )
    if len(found) == 1:
        return int(found[0]["row"])
    listed = "".join(
        f"\n  {each['row']}  {each['name'][:200]}" for each in (found or vertexes)[:20]
    )
    if found:
        raise ValueError(f"--vertex {wanted} may be any of these; say which by its number:{listed}")
    raise ValueError(f"no vertex of the run is {wanted}; there are:{listed or ' none yet'}")
