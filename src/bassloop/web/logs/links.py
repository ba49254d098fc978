"""Links in the HTML of log lines: addresses that a command printed as plain text."""

from __future__ import annotations

import re

MAX_URL = 2000

_TAG = re.compile(r"(<[^>]*>)")

_URL = re.compile(r"https?://(?:[^\s<>&]|&amp;)+")
"""An address in escaped text: it ends at quotes and angle brackets."""

_TRAILING = ".,:;!?*_~`|…"


def link_urls(line: str) -> str:
    """Return a line of HTML in which plain addresses are links. Existing links stay as they are."""
    if "://" not in line:
        return line
    if "<" not in line:
        return _URL.sub(_link, line)
    parts = _TAG.split(line)
    in_link = False
    for index, part in enumerate(parts):
        if index % 2:
            in_link = part.startswith("<a ") or (in_link and part != "</a>")
        elif not in_link and "://" in part:
            parts[index] = _URL.sub(_link, part)
    return "".join(parts)


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
