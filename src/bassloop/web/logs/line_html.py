"""Renders log lines as HTML, with workflow commands such as `::error`, and caches the result for all visitors.

A settled line never changes, and neither does its HTML. Hundreds of pages that follow one run request the same lines
at the same moment. HTML is cached in chunks of lines, of which the least recently used ones are dropped first. The
cache is in memory rather than on disk, since rendering a chunk takes about as long as reading it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from html import escape
from typing import TYPE_CHECKING

import trio

from bassloop.concurrency import KeyedLock, TTLCache
from bassloop.terminal import render_lines

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bassloop.store import Store


_COMMAND = re.compile(
    r"(?:::(?P<name>error|warning|notice|debug|group|endgroup)(?P<properties> [^:<>\"]{0,1000})?::"
    r"|##\[(?P<logged>error|warning|notice|debug|section|command|group|endgroup)\])"
)
_PROPERTY = re.compile(r"(?:^|[ ,])(file|line|col|title)=([^,]*)")

MAX_LINE = 4000
"""The maximum length of a line's HTML in which links to source files are made."""

MAX_URL = 2000

_TAG = re.compile(r"(<[^>]*>)")

_URL = re.compile(r"https?://(?:[^\s<>&]|&amp;)+")
"""A URL in escaped text. It ends at quotes and angle brackets."""

_PATH = r"(?<![\w/\\.@~+:-])(?P<path>[\w.@~+-]*(?:[/\\][\w.@~+-]+)*\.[A-Za-z]\w{0,9})"
_PLACE = re.compile(_PATH + r":(?P<line>\d{1,7})(?::\d{1,5})?(?!\w)")
_PATH_AT_END = re.compile(_PATH + r"\Z")
_LINE_AT_START = re.compile(r":(\d{1,7})(?!\w)")
_FRAME = re.compile(
    r"""File (?:"|&quot;|&#34;)(?P<path>[^"&<>]{1,300})(?:"|&quot;|&#34;), line (?P<line>\d{1,7})"""
)
"""The location of a line in a Python traceback."""

_TRAILING = ".,:;!?*_~`|…"

CHUNK = 256
"""How many lines are cached and dropped together."""

MAX_SIZE = 32 << 20
"""The maximum size of the cache, in characters of HTML."""

MIN_THREAD_SIZE = 64 * 1024
"""From this many bytes or characters on, lines are rendered or linked in a thread, so that other tasks don't have to
wait."""


def mark_command(line: str) -> str:
    """Return a line of HTML with its workflow command marked up, if it begins with one.

    The text doesn't change, so that it can be searched and copied: the command is in an element that the page hides,
    and its location is in an attribute that the page shows.

        ::error file=src/app.py,line=12,col=3::message        ##[error]message
    """
    if not line.startswith(("::", "##[")):
        return line
    match = _COMMAND.match(line)
    if match is None:
        return line
    name = match["name"] or match["logged"]
    given = dict(_PROPERTY.findall(match["properties"] or ""))
    place = ":".join(given[key] for key in ("file", "line", "col") if given.get(key))
    place = place.replace("%3A", ":").replace("%2C", ",")
    about = f' data-place="{place}"' if "file" in given else ""
    about += f' data-title="{given["title"]}"' if given.get("title") else ""
    return (
        f'<span class="command {name}"{about}><span class="marker">{match[0]}</span>'
        f"{line[match.end() :]}</span>"
    )


def link_urls(line: str) -> str:
    """Turn plain URLs in a line of HTML into links. Existing links don't change."""
    if "://" not in line:
        return line
    parts = _TAG.split(line)
    for index in _texts(parts):
        if "://" in parts[index]:
            parts[index] = _URL.sub(_link, parts[index])
    return "".join(parts)


def link_files(lines: Sequence[str], url: Callable[[str, int], str | None]) -> list[str]:
    """Turn locations in source files, as printed by tools, into links in lines of HTML.

    Args:
        url: returns the URL of a line in a file, or None if there is no such file.
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
            # Only the path is coloured, and the line number follows.
            path, after = _PATH_AT_END.search(text), _LINE_AT_START.match(parts[index + 2])
            address = url(path["path"], int(after[1])) if path and after else None
            if path is not None and address is not None:
                text = text[: path.start()] + _anchor(address, path["path"])
        parts[index] = text
    return "".join(parts)


def _texts(parts: Sequence[str]) -> list[int]:
    """Return the indexes of those texts between tags that aren't in a link."""
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
    # Punctuation is stripped from unescaped text, where a semicolon can't be the end of an entity.
    whole = match[0].replace("&amp;", "&")
    if len(whole) > MAX_URL:
        return match[0]
    url = whole.rstrip(_TRAILING)
    for opening, closing in ("()", "[]", "{}"):
        # A closing bracket whose opening one is before the URL isn't part of it.
        extra = url.count(closing) - url.count(opening)
        while extra > 0 and url.endswith(closing):
            url = url[:-1].rstrip(_TRAILING)
            extra -= 1
    if url in ("http://", "https://"):
        return match[0]
    rest = whole[len(url) :].replace("&", "&amp;")
    url = url.replace("&", "&amp;")
    return f'<a class="t-link" href="{url}" rel="noopener noreferrer nofollow ugc">{url}</a>{rest}'


@dataclass(slots=True)
class _Chunk:
    lines: list[str | None] = field(default_factory=lambda: [None] * CHUNK)

    @property
    def size(self) -> int:
        return sum(len(line) for line in self.lines if line is not None)


class LogHtmlCache:
    """Renders the lines of logs, and caches the result.

    Args:
        max_size: the maximum size of the cache, in characters of HTML.
    """

    def __init__(self, store: Store, max_size: int = MAX_SIZE) -> None:
        self._store = store
        self._chunks: TTLCache[tuple[int, int], _Chunk] = TTLCache(
            max_size, size_of=lambda chunk: chunk.size
        )
        self._logs = KeyedLock[int]()
        self._rendered = 0
        self._returned = 0

    def statistics(self) -> dict[str, int]:
        """Return how many lines were rendered and returned so far, and the size of the cache in characters."""
        return {
            "rendered": self._rendered,
            "returned": self._returned,
            "characters": int(self._chunks.current_size),
        }

    async def lines(self, run_id: str, row: int, start: int, stop: int) -> list[str]:
        """Return the HTML of settled lines `start` to `stop` of a step's log, which must exist.

        Returns fewer if they are very long, like `Logs.lines`. The caller must have checked that the visitor may
        see the run. Callers that request the same lines at the same time share the work; cancelling one loses
        nothing that was already rendered.
        """
        async with self._logs.hold(row):
            lines = self._cached(row, start, stop)
            missing = [start + index for index, line in enumerate(lines) if line is None]
            if missing:
                first, last = missing[0], missing[-1]
                raw = await self._store.logs.lines(run_id, row, first, last + 1)
                rendered = await _render(raw)
                self._add(row, first, rendered)
                lines[first - start : first - start + len(rendered)] = rendered
        found: list[str] = []
        for line in lines:
            if line is None:
                break
            found.append(line)
        self._returned += len(found)
        return found

    def _cached(self, row: int, start: int, stop: int) -> list[str | None]:
        lines: list[str | None] = []
        while start < stop:
            number, offset = divmod(start, CHUNK)
            count = min(CHUNK - offset, stop - start)
            chunk = self._chunks.get((row, number))
            lines += [None] * count if chunk is None else chunk.lines[offset : offset + count]
            start += count
        return lines

    def _add(self, row: int, start: int, lines: list[str]) -> None:
        self._rendered += len(lines)
        index = 0
        while index < len(lines):
            number, offset = divmod(start + index, CHUNK)
            part = lines[index : index + CHUNK - offset]
            chunk = self._chunks.get((row, number)) or _Chunk()
            chunk.lines[offset : offset + len(part)] = part
            self._chunks.store((row, number), chunk)
            index += len(part)


async def _render(lines: list[bytes]) -> list[str]:
    if sum(map(len, lines)) < MIN_THREAD_SIZE:
        return _lines_to_html(lines)
    return await trio.to_thread.run_sync(_lines_to_html, lines)


def _lines_to_html(lines: list[bytes]) -> list[str]:
    return [mark_command(link_urls(line)) for line in render_lines(lines)]
