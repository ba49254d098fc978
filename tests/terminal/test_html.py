"""Lines as HTML: classes for looks, and nothing that a log could break out with."""

from __future__ import annotations

import html
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bassloop.terminal import (
    one_line,
    palette_colour,
    render_html,
    render_lines,
    restyle,
    strip,
    strip_lines,
)
from bassloop.terminal.html import nearest

from .streams import LOOKS, ODDITIES, TEXT, streams

CASES = {
    "text": (b"a < b && \"c\" 'd'", "a &lt; b &amp;&amp; &quot;c&quot; &#39;d&#39;"),
    "a colour": (b"\x1b[31mred\x1b[0m x", '<span class="t-f1">red</span> x'),
    "a bright one on a ground": (b"\x1b[97;104mx", '<span class="t-f15 t-g12">x</span>'),
    "attributes": (
        b"\x1b[1;2;3;4;9;53mx",
        '<span class="t-bold t-dim t-italic t-underline t-strike t-overline">x</span>',
    ),
    "one of 256": (b"\x1b[38;5;208mx", '<span class="t-f208">x</span>'),
    "with colons": (b"\x1b[38:5:208;4:3mx", '<span class="t-underline t-f208">x</span>'),
    "a true colour": (b"\x1b[38;2;255;135;0mx", '<span class="t-f208">x</span>'),
    "a true colour with colons": (b"\x1b[48:2::8:8:8mx", '<span class="t-g232">x</span>'),
    "reversed": (b"\x1b[7mx", '<span class="t-fground t-gtext">x</span>'),
    "a colour reversed": (b"\x1b[7;31mx", '<span class="t-fground t-g1">x</span>'),
    "a broken colour": (b"\x1b[38;5;999;1mx", '<span class="t-bold">x</span>'),
    "a link": (
        b'\x1b]8;id=1;https://example.test/?a=1&b="\x1b\\here\x1b]8;;\x1b\\.',
        '<a class="t-link" href="https://example.test/?a=1&amp;b=&quot;" '
        'rel="noopener noreferrer nofollow ugc">here</a>.',
    ),
    "a link in colours": (
        b"\x1b]8;;http://x.test\x07a\x1b[31mb\x1b]8;;\x07c",
        '<a class="t-link" href="http://x.test" rel="noopener noreferrer nofollow ugc">a'
        '<span class="t-f1">b</span></a><span class="t-f1">c</span>',
    ),
    "a link to a script": (b"\x1b]8;;javascript:alert(1)\x07x", "x"),
    "a link to a file": (b"\x1b]8;;file:///etc/passwd\x07x", "x"),
    "bytes that are no text": (b"caf\xc3\xa9 \xff", "café �"),
    "controls": (b"a\x07b\x00c\x7fd\te", "abcd\te"),
    "eight-bit controls": (b"a\xc2\x9b31mb", "a�31mb"),
    "text that would turn around": ("a\u202eb\u2066c".encode(), "a�b�c"),
}


@pytest.mark.parametrize(("line", "expected"), CASES.values(), ids=CASES)
def test_a_line_is_rendered_as_html(line: bytes, expected: str) -> None:
    assert render_html(line) == expected


@given(st.one_of(streams(TEXT, LOOKS, ODDITIES, (b"<b>", b"&amp;", b'"')), st.binary(max_size=60)))
def test_html_is_balanced_safe_and_has_the_same_text_as_strip(line: bytes) -> None:
    shown = render_html(line)
    assert shown.count("<span") == shown.count("</span>")
    assert shown.count("<a ") == shown.count("</a>")
    assert re.findall(r"<(?!/?(?:span|a)\b)", shown) == []
    assert "style=" not in re.sub(">[^<]*<", "><", f">{shown}<")
    assert html.unescape(re.sub("<[^>]*>", "", shown)) == strip(line)


@given(
    st.lists(
        st.one_of(
            streams(TEXT, LOOKS, ODDITIES, (b"<b>", b"&amp;", b'"')), st.binary(max_size=60)
        ).map(lambda line: line.replace(b"\n", b"")),
        max_size=8,
    )
)
def test_many_lines_are_rendered_like_single_ones(lines: list[bytes]) -> None:
    assert render_lines(lines) == [render_html(line) for line in lines]


def test_the_nearest_palette_colour_is_similar() -> None:
    assert nearest(0, 0, 0) == 16
    assert nearest(255, 255, 255) == 231
    assert nearest(118, 118, 118) == 243
    assert nearest(95, 135, 175) == 67


def test_the_palette_has_every_fixed_colour() -> None:
    assert palette_colour(16) == (0, 0, 0)
    assert palette_colour(208) == (0xFF, 0x87, 0x00)
    assert palette_colour(255) == (0xEE, 0xEE, 0xEE)


def test_a_line_for_a_terminal_has_only_styles_and_safe_links() -> None:
    line = b"\x1b[31ma\x1b]0;title\x07\x1b[2Jb\x1b]8;;javascript:x\x07c\x1b]8;;http://x.test\x07d"
    assert restyle(line) == "\x1b[31mabc\x1b]8;;http://x.test\x1b\\d\x1b]8;;\x1b\\\x1b[0m"


@given(
    st.lists(
        st.one_of(streams(TEXT, LOOKS, ODDITIES, (b"caf\xc3\xa9", b"\xc3")), st.binary(max_size=60))
    )
)
def test_many_lines_are_stripped_like_single_ones(lines: list[bytes]) -> None:
    lines = [line.replace(b"\n", b"") for line in lines]
    text = b"".join(line + b"\n" for line in lines)
    assert strip_lines(text).decode() == "".join(strip(line) + "\n" for line in lines)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("sh -ec 'a b'  ", "sh -ec 'a b'  "),
        ("sh -ec 'mkdir dist\n\n  echo \x1b[31mx\n'", "sh -ec 'mkdir dist ⏎ echo x'"),
        ("exit status 1: sh -ec '\na\n' x", "exit status 1: sh -ec ' ⏎ a ⏎ ' x"),
        ("'\n'", "''"),
        ("\n", ""),
    ],
)
def test_a_command_of_several_lines_is_shown_in_one_line(text: str, shown: str) -> None:
    assert one_line(text) == shown
