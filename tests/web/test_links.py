"""Addresses that a command printed become links, and nothing else does."""

from __future__ import annotations

import html
import re
from html.parser import HTMLParser

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bassloop.terminal import render_lines
from bassloop.web.logs.links import link_urls


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
def test_whatever_is_printed_the_text_stays_and_links_lead_to_it(text: str) -> None:
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
