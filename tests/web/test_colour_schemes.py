"""Colour schemes: any base16 scheme can be dropped in, and can be read by everybody."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bassloop.web import colour_schemes, presentation
from bassloop.web.colour_schemes import (
    BadScheme,
    contrast,
    load_schemes,
    palette_css,
    read_scheme,
    schemes_css,
)

SHIPPED = load_schemes(Path(presentation.__file__).parent / "schemes")

sixteen = st.lists(st.integers(0, 0xFFFFFF).map("{:06x}".format), min_size=16, max_size=16).map(
    lambda found: "".join(f'base0{at:X}: "{colour}"\n' for at, colour in enumerate(found))
)


@given(text=sixteen, dark=st.booleans())
def test_every_text_of_any_scheme_has_sufficient_contrast(text: str, dark: bool) -> None:
    colours = read_scheme(text, dark=dark)
    white, black = (1.0, 1.0, 1.0), (0.0, 0.0, 0.0)
    grounds = [colours[name] for name in colour_schemes.BACKGROUNDS]
    for name in colour_schemes.TEXTS:
        worst = min(contrast(colours[name], ground) for ground in grounds)
        # No colour can be read on a ground that is itself in the middle: then it is as far as it goes.
        assert worst >= colour_schemes.CONTRAST or colours[name] == (white if dark else black)


@pytest.mark.parametrize("scheme", SHIPPED, ids=lambda scheme: scheme.name)
def test_the_built_in_schemes_are_valid(scheme: colour_schemes.ColourScheme) -> None:
    for colours in (scheme.light, scheme.dark):
        for name in colour_schemes.TEXTS:
            for ground in colour_schemes.BACKGROUNDS:
                assert contrast(colours[name], colours[ground]) >= colour_schemes.CONTRAST, (
                    name,
                    ground,
                )


def test_the_default_comes_first_and_needs_no_choice() -> None:
    css = schemes_css(SHIPPED)
    assert css.startswith(":root{--ground:light-dark(#fbfaf8,#17181c);")
    assert ':root[data-theme="gruvbox"]{' in css
    assert all(css.count(f"--{name}:") == len(SHIPPED) for name in colour_schemes.NAMES)


def test_both_ways_to_write_a_scheme_are_understood() -> None:
    flat = "".join(f'base0{digit}: "80{digit}080" # a colour\n' for digit in "0123456789ABCDEF")
    nested = 'system: "base16"\nname: x\npalette:\n' + "".join(
        f'  base0{digit}: "#80{digit}080"\n' for digit in "0123456789abcdef"
    )
    assert read_scheme(flat, dark=True) == read_scheme(nested, dark=True)


def test_invalid_colour_schemes_are_named(tmp_path: Path) -> None:
    (tmp_path / "night-dark.yaml").write_text('base00: "000000"\n')
    with pytest.raises(BadScheme, match=r"night-dark\.yaml: there is no base01"):
        load_schemes(tmp_path)
    (tmp_path / "night-dark.yaml").rename(tmp_path / "night.yaml")
    with pytest.raises(BadScheme, match="NAME-light"):
        load_schemes(tmp_path)


def test_a_scheme_of_one_variant_has_it_in_both(tmp_path: Path) -> None:
    text = "".join(f'base0{digit}: "{digit}0{digit}0{digit}0"\n' for digit in "0123456789ABCDEF")
    (tmp_path / "night-dark.yaml").write_text(text)
    [scheme] = load_schemes(tmp_path)
    assert scheme.light == scheme.dark


def test_the_terminals_colours_can_be_read_in_every_scheme() -> None:
    css = palette_css(SHIPPED)
    found = re.findall(r"\.t-f(\d+)\{color:light-dark\(#(\w{6}),#(\w{6})\)\}", css)
    assert [int(number) for number, *_ in found] == list(range(16, 256))
    for _, *pair in found:
        light, dark = (
            (int(text[:2], 16) / 255, int(text[2:4], 16) / 255, int(text[4:], 16) / 255)
            for text in pair
        )
        for scheme in SHIPPED:
            for name in colour_schemes.LOG_BACKGROUNDS:
                assert contrast(light, scheme.light[name]) >= colour_schemes.CONTRAST
                assert contrast(dark, scheme.dark[name]) >= colour_schemes.CONTRAST
    assert ".t-g208{background-color:#ff8700;color:#000000}" in css
    assert '.t-f208[class*="t-g"]{color:#ff8700}' in css
