"""Colour schemes, light and dark, as CSS variables.

A scheme is a file in `schemes/`, `NAME-light.yaml` or `NAME-dark.yaml`, in the format in which base16 schemes
are published (https://github.com/tinted-theming/home: sixteen colours, `base00` to `base0F`): any of them can
be added. Instead of base16's names, or beside them, a file may use those in `NAMES`.

Published schemes are made for editors, and few have enough contrast: text colours are moved away from their
backgrounds until they reach WCAG 2's level AA (4.5 to 1).
"""

from __future__ import annotations

import re
from bisect import bisect_left
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from bassloop.terminal import palette_colour

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

NAMES = (
    "ground",
    "raised",
    "sunken",
    "line",
    "text",
    "soft",
    "ok",
    "bad",
    "warn",
    "info",
    "magenta",
    "cyan",
    "hit",
)
"""The CSS variables."""

BACKGROUNDS = ("ground", "raised", "sunken", "hit")

LOG_BACKGROUNDS = ("sunken", "hit")
"""The backgrounds of logs."""

TEXTS = ("text", "soft", "ok", "bad", "warn", "info", "magenta", "cyan")

DEFAULT = "bass"
CONTRAST = 4.5

_ENTRY = re.compile(r"""^\s*([A-Za-z0-9]+)\s*:\s*["']?#?([0-9A-Fa-f]{6})["']?\s*(?:#.*)?$""")
_FILE = re.compile(r"([a-z0-9-]{1,40})-(light|dark)")

Colour = tuple[float, float, float]
"""Red, green and blue, each from 0 to 1."""


class BadScheme(ValueError):
    """A scheme's file is invalid. The message has its name and the problem."""


@dataclass(frozen=True, slots=True)
class ColourScheme:
    """A scheme: its name, and its light and dark colours by CSS variable."""

    name: str
    light: Mapping[str, Colour]
    dark: Mapping[str, Colour]


def load_schemes(folder: Path) -> list[ColourScheme]:
    """Load the schemes in a folder, the default one first. Raises BadScheme and OSError."""
    variants: dict[str, dict[str, Mapping[str, Colour]]] = {}
    for path in sorted(folder.glob("*.yaml")):
        named = _FILE.fullmatch(path.stem)
        if named is None:
            raise BadScheme(f"{path.name}: schemes are named NAME-light.yaml or NAME-dark.yaml")
        try:
            colours = read_scheme(path.read_text(), dark=named[2] == "dark")
        except BadScheme as error:
            raise BadScheme(f"{path.name}: {error}") from error
        variants.setdefault(named[1], {})[named[2]] = colours
    found = [
        ColourScheme(name, pair.get("light") or pair["dark"], pair.get("dark") or pair["light"])
        for name, pair in variants.items()
    ]
    return sorted(found, key=lambda scheme: (scheme.name != DEFAULT, scheme.name))


def read_scheme(text: str, *, dark: bool) -> dict[str, Colour]:
    """Return the colours in a scheme's file, with enough contrast for text. Raises BadScheme."""
    entries = {
        found[1].lower(): _colour(found[2])
        for line in text.splitlines()
        if (found := _ENTRY.match(line))
    }
    colours = _from_base16(entries, dark=dark) if "base00" in entries else {}
    colours.update({name: entries[name] for name in NAMES if name in entries})
    missing = [name for name in NAMES if name not in colours]
    if missing:
        raise BadScheme(f"there is neither base00 to base0F nor {', '.join(missing)}")
    backgrounds = [colours[name] for name in BACKGROUNDS]
    return {
        name: with_contrast(colour, backgrounds, dark=dark) if name in TEXTS else colour
        for name, colour in colours.items()
    }


def _from_base16(entries: Mapping[str, Colour], *, dark: bool) -> dict[str, Colour]:
    wanted = [f"base0{digit}" for digit in "0123458abcde"]
    missing = [name for name in wanted if name not in entries]
    if missing:
        raise BadScheme(f"there is no {', '.join(missing)}")
    ground = entries["base00"]
    away = (0.0, 0.0, 0.0) if dark else (1.0, 1.0, 1.0)
    return {
        "ground": ground,
        "raised": entries["base01"] if dark else mix(ground, away, 0.6),
        "sunken": mix(ground, away, 0.25) if dark else entries["base01"],
        "line": entries["base02"],
        "text": entries["base05"],
        "soft": entries["base04"],
        "ok": entries["base0b"],
        "bad": entries["base08"],
        "warn": entries["base0a"],
        "info": entries["base0d"],
        "magenta": entries["base0e"],
        "cyan": entries["base0c"],
        "hit": mix(ground, entries["base0a"], 0.15),
    }


def schemes_css(schemes: Iterable[ColourScheme]) -> str:
    """Return rules that set the variables.

    `data-theme` on the root element selects the scheme, and its `color-scheme` the variant.
    """
    rules = []
    for scheme in schemes:
        selector = ":root" if scheme.name == DEFAULT else f':root[data-theme="{scheme.name}"]'
        values = "".join(
            f"--{name}:light-dark({_hex(scheme.light[name])},{_hex(scheme.dark[name])});"
            for name in NAMES
        )
        rules.append(f"{selector}{{{values}}}\n")
    return "".join(rules)


def palette_css(schemes: Iterable[ColourScheme]) -> str:
    """Return rules for the terminal's fixed colours, 16 to 255.

    The colour of text is adjusted until it has enough contrast with the backgrounds of logs in all schemes. On a
    coloured background it isn't adjusted, and text without a colour is black or white.
    """
    found = list(schemes)
    # Enough contrast with the darkest light background, and the lightest dark one, is enough for all.
    light = min((s.light[name] for s in found for name in LOG_BACKGROUNDS), key=_luminance)
    dark = max((s.dark[name] for s in found for name in LOG_BACKGROUNDS), key=_luminance)
    black, white = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
    rules = []
    for index in range(16, 256):
        red, green, blue = (value / 255 for value in palette_colour(index))
        colour = red, green, blue
        on_light = _hex(with_contrast(colour, [light], dark=False))
        on_dark = _hex(with_contrast(colour, [dark], dark=True))
        text = max((black, white), key=lambda each: contrast(each, colour))
        rules.append(
            f".t-f{index}{{color:light-dark({on_light},{on_dark})}}\n"
            f'.t-f{index}[class*="t-g"]{{color:{_hex(colour)}}}\n'
            f".t-g{index}{{background-color:{_hex(colour)};color:{_hex(text)}}}\n"
        )
    return "".join(rules)


def with_contrast(colour: Colour, backgrounds: Iterable[Colour], *, dark: bool) -> Colour:
    """Return the colour, mixed with just enough white or black for sufficient contrast with each background."""
    grounds = [_luminance(ground) for ground in backgrounds]
    towards = (1.0, 1.0, 1.0) if dark else (0.0, 0.0, 0.0)

    def moved(step: int) -> Colour:
        red, green, blue = mix(colour, towards, step / 100)
        return round(red * 255) / 255, round(green * 255) / 255, round(blue * 255) / 255

    def is_readable(step: int) -> bool:
        own = _luminance(moved(step))
        return all(_contrast(own, ground) >= CONTRAST for ground in grounds)

    step = 0 if is_readable(0) else bisect_left(range(101), True, key=is_readable)
    return moved(step) if step <= 100 else towards


def contrast(one: Colour, other: Colour) -> float:
    """Return the contrast ratio of two colours, from 1 to 21 (WCAG 2.2)."""
    return _contrast(_luminance(one), _luminance(other))


def _contrast(one: float, other: float) -> float:
    return (max(one, other) + 0.05) / (min(one, other) + 0.05)


def mix(one: Colour, other: Colour, share: float) -> Colour:
    """Mix two colours. `share`, from 0 to 1, is the proportion of the second one."""
    (red, green, blue), (to_red, to_green, to_blue) = one, other
    return (
        red + (to_red - red) * share,
        green + (to_green - green) * share,
        blue + (to_blue - blue) * share,
    )


@lru_cache(maxsize=256)
def _luminance(colour: Colour) -> float:
    red, green, blue = colour
    return 0.2126 * _linear(red) + 0.7152 * _linear(green) + 0.0722 * _linear(blue)


def _linear(value: float) -> float:
    return value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4


def _colour(digits: str) -> Colour:
    return int(digits[0:2], 16) / 255, int(digits[2:4], 16) / 255, int(digits[4:6], 16) / 255


def _hex(colour: Colour) -> str:
    red, green, blue = colour
    return f"#{round(red * 255):02x}{round(green * 255):02x}{round(blue * 255):02x}"
