"""A terminal emulator for logs: turns a command's bytes into lines, and lines into HTML.

    terminal = Terminal()
    for piece in pieces:
        text = terminal.settle(piece).text          # final lines, self-contained
    text = terminal.settle_rest().text
    html = render_lines(text.split(b"\\n")[:-1])

It's incremental, does no I/O, uses bounded memory, and raises no exception whatever the bytes are.
"""

from __future__ import annotations

from bassloop.terminal.html import palette_colour, render_html, render_lines
from bassloop.terminal.lines import one_line, plain, plain_lines, restyle, strip, strip_lines
from bassloop.terminal.terminal import ROWS, Settled, Terminal

__all__ = [
    "ROWS",
    "Settled",
    "Terminal",
    "one_line",
    "palette_colour",
    "plain",
    "plain_lines",
    "render_html",
    "render_lines",
    "restyle",
    "strip",
    "strip_lines",
]
