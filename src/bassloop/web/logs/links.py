"""Links in the HTML of log lines: addresses that a command printed as plain text, and lines of source files."""

from __future__ import annotations

import re
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

MAX_LINE = 4000
"""Characters of HTML of a line in which source files are looked for."""

MAX_URL = 2000

_TAG = re.compile(r"(<[^>]*>)")

_URL = re.compile(r"https?://(?:[^\s<>&]|&amp;)+")
"""An address in escaped text: it ends at quotes and angle brackets."""

_PATH = r"(?<![\w/\\.@~+:-])(?P<path>[\w.@~+-]*(?:[/\\][\w.@~+-]+)*\.[A-Za-z]\w{0,9})"
_PLACE = re.compile(_PATH + r":(?P<line>\d{1,7})(?::\d{1,5})?(?!\w)")
_PATH_AT_END = re.compile(_PATH + r"\Z")
_LINE_AT_START = re.compile(r":(\d{1,7})(?!\w)")
_FRAME = re.compile(
    r"""File (?:"|&quot;|&#34;)(?P<path>[^"&<>]{1,300})(?:"|&quot;|&#34;), line (?P<line>\d{1,7})"""
)
"""How Python names a line."""

_TRAILING = ".,:;!?*_~`|…"


def link_urls(line: str) -> str:
    """Return a line of HTML in which plain addresses are links. Existing links stay as they are."""
    if "://" not in line:
        return line
    parts = _TAG.split(line)
    for index in _texts(parts):
        if "://" in parts[index]:
            parts[index] = _URL.sub(_link, parts[index])
    return "".join(parts)


def link_files(lines: Sequence[str], url: Callable[[str, int], str | None]) -> list[str]:
    """Return lines of HTML in which places in source files, as tools print them, are links.

    Args:
        url: returns the address of a file's line, or None if there is no such file.
    """
    return [_link_files(line, url) if len(line) <= MAX_LINE else line for line in lines]


def _link_files(line: str, url: Callable[[str, int], str | None]) -> str:
    if ":" not in line and "File " not in line:
        return line

    def link(match: re.Match[str]) -> str:
        address = url(match["path"], int(match["line"]))
        return match[0] if address is None else _anchor(address, match[0])

    parts = _TAG.split(line)
    for index in _texts(parts):
        text = _FRAME.sub(link, parts[index])
        text = text if text != parts[index] else _PLACE.sub(link, text)
        if text == parts[index] and parts[index + 1 : index + 2] == ["</span>"]:
            # Only the path has a colour: the line follows.
            path, after = _PATH_AT_END.search(text), _LINE_AT_START.match(parts[index + 2])
            address = url(path["path"], int(after[1])) if path and after else None
            if path is not None and address is not None:
                text = text[: path.start()] + _anchor(address, path["path"])
        parts[index] = text
    return "".join(parts)


def _texts(parts: Sequence[str]) -> list[int]:
    """Return the indexes of the texts between tags that are in no link."""
    found = []
    in_link = False
    for index, part in enumerate(parts):
        if index % 2:
            in_link = part.startswith("<a ") or (in_link and part != "</a>")
        elif part and not in_link:
            found.append(index)
    return found


def _anchor(url: str, html: str) -> str:
    return f'<a class="t-link" href="{escape(url)}" rel="noopener noreferrer">{html}</a>'


def _link(match: re.Match[str]) -> str:
    # Stripped in the text that was printed: a semicolon may end an entity, and that is no punctuation.
    whole = match[0].replace("&amp;", "&")
    url = whole.rstrip(_TRAILING)
    for opening, closing in ("()", "[]", "{}"):
        # A bracket that closes what was opened before the address is no part of it.
        while url.endswith(closing) and url.count(closing) > url.count(opening):
            url = url[:-1].rstrip(_TRAILING)
    if len(url) > MAX_URL or url in ("http://", "https://"):
        return match[0]
    rest = whole[len(url) :].replace("&", "&amp;")
    url = url.replace("&", "&amp;")
    return f'<a class="t-link" href="{url}" rel="noopener noreferrer nofollow ugc">{url}</a>{rest}'
