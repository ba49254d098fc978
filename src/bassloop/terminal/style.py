"""Styles of text: colours and attributes, as SGR (select graphic rendition) sets them."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from bassloop.terminal.grammar import LINK, SGR

FLAGS = {
    "bold": (1, 22),
    "dim": (2, 22),
    "italic": (3, 23),
    "underline": (4, 24),
    "blink": (5, 25),
    "reverse": (7, 27),
    "hidden": (8, 28),
    "strike": (9, 29),
    "overline": (53, 55),
}
"""Attributes, with the codes that turn each on and off."""

_ON = {on: name for name, (on, _) in FLAGS.items()} | {6: "blink", 21: "underline"}
_OFF: dict[int, tuple[str, ...]] = {
    off: tuple(name for name, codes in FLAGS.items() if codes[1] == off)
    for _, off in FLAGS.values()
}

Colour = int | tuple[int, int, int] | None
"""An index into the palette of 256, a true colour, or the default."""


class Style(NamedTuple):
    """A style of text. `flags` are names of `FLAGS`, in that order."""

    foreground: Colour = None
    background: Colour = None
    flags: tuple[str, ...] = ()

    def sgr(self) -> bytes:
        """Return the SGR parameters that turn the default style into this one; empty for the default."""
        codes = [str(FLAGS[flag][0]) for flag in self.flags]
        codes += _colour_codes(self.foreground, 30) + _colour_codes(self.background, 40)
        return ";".join(codes).encode()


class Pen(NamedTuple):
    """What text is written with: a style, and the target of a hyperlink, b"" for none."""

    style: Style
    link: bytes = b""


_FEW = 8

PLAIN = Style()
DEFAULT_PEN = Pen(PLAIN)


@lru_cache(maxsize=4096)
def begin(pen: Pen) -> bytes:
    """Return the sequences that turn the default pen into this one."""
    sgr = pen.style.sgr()
    out = b"\x1b[" + sgr + b"m" if sgr else b""
    return out + b"\x1b]8;;" + pen.link + b"\x1b\\" if pen.link else out


def change(before: Pen, after: Pen) -> bytes:
    """Return the sequences that turn one pen into another."""
    out = b""
    if before.link and before.link != after.link:
        out = b"\x1b]8;;\x1b\\"
    if before.style != after.style:
        if before.style != PLAIN:
            out += b"\x1b[0m"
        out += begin(Pen(after.style))
    if after.link and before.link != after.link:
        out += b"\x1b]8;;" + after.link + b"\x1b\\"
    return out


def style_after(style: Style, content: bytes) -> Style:
    """Return the style after the SGR sequences in `content`. Hyperlinks mustn't contain any."""
    last = content.rfind(b"\x1b[0m")
    if last >= 0:
        if content.find(b"\x1b", last + 4) < 0:
            return PLAIN
        style = PLAIN
    found = SGR.findall(content, last + 4 if last >= 0 else 0)
    if len(found) <= _FEW:
        return _after(style, tuple(found))
    for parameters in found:
        style = applied(style, parameters)
    return style


@lru_cache(maxsize=4096)
def _after(style: Style, sequences: tuple[bytes, ...]) -> Style:
    """Return the style after a few SGR sequences. It's cached, because similar lines repeat them."""
    for parameters in sequences:
        style = applied(style, parameters)
    return style


def pen_after(pen: Pen, content: bytes) -> Pen:
    """Return the pen after the SGR sequences and hyperlinks in `content`."""
    if b"\x1b" not in content:
        return pen
    link = pen.link
    last = content.rfind(b"\x1b[0m")
    if last >= 0 and not link and content.find(b"\x1b", last + 4) < 0 and b"\x1b]" not in content:
        return DEFAULT_PEN
    if b"\x1b]" in content:
        for link in LINK.findall(content):  # noqa: B007 - the last one counts
            pass
    return Pen(style_after(pen.style, content), link)


@lru_cache(maxsize=4096)
def applied(style: Style, parameters: bytes) -> Style:
    """Return the style after one SGR sequence with these parameters; the object `PLAIN` if it's the default."""
    foreground, background, flags = style.foreground, style.background, set(style.flags)
    groups = [
        [int(value[-6:]) if value else -1 for value in group.split(b":")]
        for group in parameters.split(b";")
    ]
    index = 0
    while index < len(groups):
        group = groups[index]
        code = max(0, group[0])
        index += 1
        if code == 0:
            foreground = background = None
            flags = set()
        elif code == 4 and len(group) > 1:
            flags = flags - {"underline"} if group[1] == 0 else flags | {"underline"}
        elif code in _ON:
            flags.add(_ON[code])
        elif code in _OFF:
            flags.difference_update(_OFF[code])
        elif 30 <= code <= 37:
            foreground = code - 30
        elif 40 <= code <= 47:
            background = code - 40
        elif 90 <= code <= 97:
            foreground = code - 82
        elif 100 <= code <= 107:
            background = code - 92
        elif code == 39:
            foreground = None
        elif code == 49:
            background = None
        elif code in (38, 48, 58):
            colour, taken = _extended(group, groups[index:])
            index += taken
            if colour is not None and code == 38:
                foreground = colour
            elif colour is not None and code == 48:
                background = colour
    style = Style(foreground, background, tuple(flag for flag in FLAGS if flag in flags))
    return PLAIN if style == PLAIN else style


def _extended(group: list[int], after: list[list[int]]) -> tuple[Colour, int]:
    """Return the colour for a 38, 48 or 58, and how many of the parameters after it belong to it."""
    if len(group) > 1:
        values, taken = group[1:], 0
        if values[0] == 2 and len(values) > 4:
            values = [2, *values[2:5]]
    else:
        values = [max(0, value[0]) for value in after[:4]]
        taken = {5: 2, 2: 4}.get(values[0] if values else 0, 1 if values else 0)
        values = values[:taken]
    if len(values) >= 2 and values[0] == 5 and 0 <= values[1] <= 255:
        return values[1], taken
    if len(values) >= 4 and values[0] == 2 and all(0 <= value <= 255 for value in values[1:4]):
        return (values[1], values[2], values[3]), taken
    return None, taken


def _colour_codes(colour: Colour, base: int) -> list[str]:
    if colour is None:
        return []
    if isinstance(colour, tuple):
        return [f"{base + 8};2;{colour[0]};{colour[1]};{colour[2]}"]
    if colour < 8:
        return [str(base + colour)]
    if colour < 16:
        return [str(base + 52 + colour)]
    return [f"{base + 8};5;{colour}"]
