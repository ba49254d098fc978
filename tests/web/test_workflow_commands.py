"""Workflow commands in log lines, as pages show them."""

from __future__ import annotations

import re
from html import unescape

import pytest

from bassloop.terminal import render_lines, strip
from bassloop.web.logs.line_html import link_urls, mark_command

from .site import HOSTILE


def marked(line: str) -> str:
    [html] = render_lines([line.encode()])
    return mark_command(link_urls(html))


def test_an_error_command_shows_its_location() -> None:
    assert marked("::error file=src/app.py,line=12,col=3::no <foo>") == (
        '<span class="command error" data-place="src/app.py:12:3">'
        '<span class="marker">::error file=src/app.py,line=12,col=3::</span>no &lt;foo&gt;</span>'
    )
    assert 'data-title="Hint"' in marked("::notice title=Hint::try it")
    assert marked("##[warning]old") == (
        '<span class="command warning"><span class="marker">##[warning]</span>old</span>'
    )
    assert 'class="command endgroup"' in marked("::endgroup::")


def test_colours_within_a_command_do_not_affect_it() -> None:
    line = "::error file=\x1b]8;;https://a/\x07\x1b[31ma\x1b[0m\x1b]8;;\x07,line=1::b"
    assert "command" not in marked(line)


@pytest.mark.parametrize("line", ["::", "::set-output name=a::b", " ::error::x", "::error:x", "x"])
def test_other_lines_are_unchanged(line: str) -> None:
    assert marked(line) == line


@pytest.mark.parametrize(
    "line", [f"::error file={HOSTILE},line=1::{HOSTILE}", f"::error title={HOSTILE}::x"]
)
def test_nothing_becomes_active_and_no_character_is_lost(line: str) -> None:
    html = marked(line)
    assert "<script" not in html
    text = html.replace("&amp;", "&")
    assert text.count(" data-") <= 2
    assert unescape(re.sub("<[^>]*>", "", html)) == strip(line.encode())
