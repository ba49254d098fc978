"""Settled lines as HTML, for pages whose Content-Security-Policy forbids `style` attributes.

Styles are classes: `t-bold`, `t-dim`, `t-italic`, `t-underline`, `t-blink`, `t-hidden`, `t-strike`, `t-overline`;
`t-f0` to `t-f255` for the foreground colour, and `t-g0` to `t-g255` for the background. The theme defines colours 0 to
15; `palette_colour` returns the values of all others. A true colour becomes the nearest of the 240 fixed ones, because
there can't be a class for each of 16 million. Reversed text swaps the two colours, with `t-fground` and `t-gtext` for
the defaults.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING

from bassloop.terminal.lines import readable, runs, safe_link
from bassloop.terminal.style import PLAIN, Colour, Style, applied

if TYPE_CHECKING:
    from collections.abc import Sequence

_CONTROLS = bytes([*range(0x09), *range(0x0B, 0x1B), *range(0x1C, 0x20), 0x7F])
_SGR = re.compile("\x1b\\[([0-9;:]{0,256}+)m")
_CHANGE = re.compile("(\x1b\\[[0-9;:]{0,256}m(?:\x1b\\[[0-9;:]{0,256}m)*)")
_LOOKS_LIMIT = 256

_STEPS = (0, 95, 135, 175, 215, 255)


def render_html(line: bytes) -> str:
    """Return a line's content as HTML: text, `span` with classes, and `a` for http and https links.

    Everything is escaped. Bytes that aren't UTF-8, and characters that would change the direction of the text, become
    U+FFFD. Other escapes and control characters are dropped, except tabs: use `white-space: pre-wrap` and
    `tab-size: 8`, and isolate the direction of each line.
    """
    out: list[str] = []
    link = b""
    for text, pen in runs(line):
        if pen.link != link:
            if link:
                out.append("</a>")
            link = pen.link if safe_link(pen.link) else b""
            if link:
                out.append(_anchor(link))
        shown = _escaped(readable(text))
        classes = _classes(pen.style) if pen.style != PLAIN else ""
        out.append(f'<span class="{classes}">{shown}</span>' if classes else shown)
    if link:
        out.append("</a>")
    return "".join(out)


def render_lines(lines: Sequence[bytes]) -> list[str]:
    """Return the same as `render_html` for each of many lines, but several times faster.

    The text of all lines is decoded, escaped and split at once, and changes of style are cached.
    """
    if not lines:
        return []
    raw = b"\n".join(lines)
    if len(raw.translate(None, _CONTROLS)) != len(raw):
        return [render_html(line) for line in lines]
    text = _escaped(readable(raw))
    if "\x1b" not in text:
        return text.split("\n")
    shown = _spans(_CHANGE.split(text)).split("\n")
    for index, line in enumerate(shown):
        if "\x1b" in line:
            shown[index] = render_html(lines[index])
    return shown


class _Look(dict[str, tuple["_Look", str]]):
    """A style as a state: maps each change (one or more SGR sequences) to the next state, and the tags for it."""

    def __init__(self, style: Style, known: dict[Style, _Look]) -> None:
        super().__init__()
        classes = _classes(style)
        self.tag = f'<span class="{classes}">' if classes else ""
        self._style = style
        self._known = known

    def __missing__(self, change: str) -> tuple[_Look, str]:
        style = self._style
        for parameters in _SGR.findall(change):
            style = applied(style, parameters.encode())
        look = self._known.get(style)
        if look is None:
            look = _Look(style, self._known)
        found = look, ("</span>" if self.tag else "") + look.tag
        if len(self._known) < _LOOKS_LIMIT and len(self) < _LOOKS_LIMIT:
            self._known[style] = look
            self[change] = found
        return found


def _spans(parts: list[str]) -> str:
    """Return the HTML for text parts that alternate with changes of style. Each line begins without a style."""
    plain = look = _Look(PLAIN, {})
    parts[-1] += "\n"
    for index in range(1, len(parts), 2):
        before = look
        look, parts[index] = look[parts[index]]
        if look.tag and "\n" in parts[index + 1]:
            rest, _, after = parts[index + 1].partition("\n")
            tags = parts[index] + rest + "</span>" if rest else "</span>" if before.tag else ""
            parts[index] = tags
            parts[index + 1] = "\n" + after
            look = plain
    return "".join(parts)[:-1]


@lru_cache(maxsize=4096)
def nearest(red: int, green: int, blue: int) -> int:
    """Return the fixed colour of the palette (16 to 255) that is nearest to a true colour."""
    cube = [_nearest_step(value) for value in (red, green, blue)]
    grey = min(23, max(0, round(((red + green + blue) / 3 - 8) / 10)))
    candidates = (16 + 36 * cube[0] + 6 * cube[1] + cube[2], 232 + grey)
    return min(candidates, key=lambda index: _distance(palette_colour(index), (red, green, blue)))


def _nearest_step(value: int) -> int:
    return min(range(6), key=lambda step: abs(_STEPS[step] - value))


def palette_colour(index: int) -> tuple[int, int, int]:
    """Return the red, green and blue values of a fixed colour, 16 to 255."""
    if index >= 232:
        level = 8 + 10 * (index - 232)
        return level, level, level
    index -= 16
    return _STEPS[index // 36], _STEPS[index // 6 % 6], _STEPS[index % 6]


def _distance(one: tuple[int, int, int], other: tuple[int, int, int]) -> int:
    return sum((a - b) ** 2 for a, b in zip(one, other, strict=True))


@lru_cache(maxsize=4096)
def _classes(style: Style) -> str:
    names = [f"t-{flag}" for flag in style.flags if flag != "reverse"]
    foreground = _index(style.foreground)
    background = _index(style.background)
    if "reverse" in style.flags:
        names.append(f"t-f{'ground' if background is None else background}")
        names.append(f"t-g{'text' if foreground is None else foreground}")
    else:
        names += [] if foreground is None else [f"t-f{foreground}"]
        names += [] if background is None else [f"t-g{background}"]
    return " ".join(names)


def _index(colour: Colour) -> int | None:
    return nearest(*colour) if isinstance(colour, tuple) else colour


def _anchor(target: bytes) -> str:
    href = _escaped(target.decode("ascii"))
    return f'<a class="t-link" href="{href}" rel="noopener noreferrer nofollow ugc">'


def _escaped(text: str) -> str:
    return (
        text.replace("&", "&amp;")
        .replace("<", "&lt;")
        .replace(">", "&gt;")
        .replace('"', "&quot;")
        .replace("'", "&#39;")
    )
