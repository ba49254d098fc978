"""Addresses that a command printed become links, and nothing else does."""

from __future__ import annotations

import html
import re
from html.parser import HTMLParser

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bassloop.terminal import render_lines
from bassloop.web.logs.line_html import link_files, link_urls


def hrefs(line: str) -> list[str]:
    return [html.unescape(found) for found in re.findall(r'href="([^"]*)"', line)]


@pytest.mark.parametrize(
    ("text", "urls"),
    [
        ("see https://x.test/a?b=1&c=2#d for more", ["https://x.test/a?b=1&c=2#d"]),
        ("(https://x.test/a_(b)).", ["https://x.test/a_(b)"]),
        ("[docs](http://x.test), <http://y.test>", ["http://x.test", "http://y.test"]),
        ("'https://x.test/'\"https://y.test\"", ["https://x.test/", "https://y.test"]),
        ("\x1b[31mhttps://x.test\x1b[0m/path", ["https://x.test"]),
        ("javascript:alert(1) ftp://x.test file:///etc https://", []),
        ("\x1b]8;;https://x.test\x1b\\https://y.test\x1b]8;;\x1b\\", ["https://x.test"]),
    ],
)
def test_addresses_are_links(text: str, urls: list[str]) -> None:
    [line] = render_lines([text.encode()])
    assert hrefs(link_urls(line)) == urls


def test_a_long_address_is_not_a_link_whatever_it_ends_in() -> None:
    """Each bracket was counted for each one after it: 3 s for a line of 64 KB, on the event loop."""
    for end in (")", "(", ")]}", ".", "&amp;"):
        line = f"https://x.test/{end * 500_000}"
        assert link_urls(line) == line


def known_source(path: str, line: int) -> str | None:
    return f"https://g.test/{path}#L{line}" if path in ("src/app.py", "main.c") else None


@pytest.mark.parametrize(
    ("text", "urls"),
    [
        ("src/app.py:12:3: F401", ["https://g.test/src/app.py#L12"]),
        ("  at main.c:7, (main.c:8)", ["https://g.test/main.c#L7", "https://g.test/main.c#L8"]),
        ('  File "src/app.py", line 4, in f', ["https://g.test/src/app.py#L4"]),
        ("\x1b[1msrc/app.py\x1b[0m:13: AssertionError", ["https://g.test/src/app.py#L13"]),
        ("\x1b[1mmain.c:5:21:\x1b[0m error", ["https://g.test/main.c#L5"]),
        ("other.py:3 src/app.py:x xsrc/app.py:3 src/app.py:3x src/app.py", []),
        ("https://x.test/main.c:3", ["https://x.test/main.c:3"]),
        ("x" * 5000 + " main.c:1", []),
    ],
)
def test_locations_in_known_files_are_links(text: str, urls: list[str]) -> None:
    lines = [link_urls(line) for line in render_lines([text.encode()])]
    assert hrefs("".join(link_files(lines, known_source))) == urls


@given(
    st.lists(
        st.sampled_from(
            ["main.c", ":1", ":", " ", "src/app.py", "\x1b[31m", "\x1b[0m", "<b>", '"', "&"]
        )
        | st.text(max_size=3)
    )
)
def test_links_to_files_change_no_character(pieces: list[str]) -> None:
    [line] = render_lines(["".join(pieces).replace("\n", "").encode(errors="replace")])
    [linked] = link_files([line], known_source)
    before, after = Text(), Text()
    before.feed(line)
    after.feed(linked)
    assert after.text == before.text
    assert [tag for tag, _ in after.attributes if tag not in ("span", "a")] == []


class Text(HTMLParser):
    """The text of some HTML, and its links' addresses."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.text = ""
        self.attributes: list[tuple[str, dict[str, str | None]]] = []

    def handle_data(self, data: str) -> None:
        self.text += data

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes.append((tag, dict(attrs)))


@example("https://&")
@example("(https://x/?a&)")
@given(
    st.lists(
        st.sampled_from(
            [
                "https://",
                "http://x",
                "<script>",
                "&",
                "&amp;",
                '"',
                "'",
                ">",
                "a",
                " ",
                ")",
                "\x1b[31m",
            ]
        )
    ).map("".join)
)
def test_links_do_not_change_any_text_and_lead_to_it(text: str) -> None:
    [line] = render_lines([text.encode()])
    before, after = Text(), Text()
    before.feed(line)
    after.feed(link_urls(line))
    assert after.text == before.text
    assert {tag for tag, _ in after.attributes} <= {"span", "a"}
    for tag, attributes in after.attributes:
        if tag == "a":
            assert set(attributes) == {"class", "href", "rel"}
            assert (attributes["href"] or "").startswith(("http://", "https://"))
            assert (attributes["href"] or "") in after.text
