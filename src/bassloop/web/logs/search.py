"""Search in all logs of a run.

Blocks of lines are read and scanned in a thread, a tenth of a second at a time, by at most two threads for
all visitors, so that everybody gets a turn. A search holds one block and one page of matches in memory. When
too many are running, further ones are refused.

A query is compiled to a pattern. Matching is linear in the text: patterns are RE2's. But each byte may cost as much as
the pattern is large, so a pattern's size is bounded, and a large one is looked for in small blocks. Blocks are matched
in a thread, where RE2 releases the GIL; Python runs only for lines that match. A text is looked for in the block as it
is first, where colours may stand between its characters: most blocks don't have it, and needn't be stripped.
"""

from __future__ import annotations

import re
import time
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import re2
import trio
from quart import Blueprint, Response, abort, jsonify, render_template, request

from bassloop.terminal import one_line, strip_lines
from bassloop.terminal.grammar import INVISIBLE
from bassloop.web.guard import visible_run
from bassloop.web.presentation import STEP_PAGE_LINES, abort_not_found, view_run, wants_json

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from bassloop.store import LogText, Step, Store
    from bassloop.web.web_context import WebContext


MAX_QUERY = 500
"""Characters of a query."""

MAX_EXCERPT = 500
"""Characters of a line that are returned with its match."""

MAX_SPANS = 50
"""Spans of one line that are returned."""

PATTERN_MEMORY = 256 << 10
"""Bytes that a pattern may take. RE2's own default lets one compile for a third of a second."""

LARGEST_BLOCK, SMALLEST_BLOCK = 256 << 10, 4 << 10
"""Bytes of text to look through at once."""

_BLOCK_STEPS = 16 << 20
"""Bytes times instructions of a block: about a tenth of a second where RE2 follows all of them at once."""

_CONTEXT_BEFORE = 80

_MAX_COLOURED = 64
"""Characters of a text that are looked for in blocks that aren't stripped."""

_GAP = b"(?:%b)*" % INVISIBLE.pattern.replace(b"*+", b"*").replace(b"?+", b"?")
"""What stripping may take out between two characters, or more: RE2 has no possessive quantifiers."""

DEFAULT_LIMIT = 200
MAX_LIMIT = 1000

MAX_COUNT = 100_000
"""Matches that are counted in one answer."""

SEARCH_SECONDS = 20.0
"""How long one request searches for a page without JavaScript."""

PROGRESS_SECONDS = 3.0
"""How long one request searches for a script, which shows how far it got, and goes on."""

MAX_SEARCHES = 16
"""Searches that run at the same time."""


class BadQuery(ValueError):
    """A query that can't be searched for; the message says what is wrong with it."""


@dataclass(frozen=True, slots=True)
class LogMatch:
    """A line that matches.

    Args:
        text: an excerpt of the line.
        start: where the excerpt starts in the line.
        spans: start and end of each match in the line.

    Offsets are in UTF-16 code units, as in a browser.
    """

    line: int
    text: str
    start: int
    spans: tuple[tuple[int, int], ...]

    def pieces(self) -> list[tuple[str, bool]]:
        """Return the excerpt in pieces, each with whether it matches."""
        units = self.text.encode("utf-16-le", "surrogatepass")
        found, at = [], 0
        for begin, end in self.spans:
            first, last = (min(max(each - self.start, 0) * 2, len(units)) for each in (begin, end))
            found += [(units[at:first], False), (units[first:last], True)]
            at = last
        found.append((units[at:], False))
        return [(piece.decode("utf-16-le", "replace"), hit) for piece, hit in found if piece]


class LogQuery:
    """A text to search for, or with `regex` a regular expression in RE2's syntax. Raises BadQuery.

    Args:
        case: whether to match case.
    """

    def __init__(self, text: str, *, regex: bool = False, case: bool = False) -> None:
        if not 1 <= len(text) <= MAX_QUERY:
            raise BadQuery(f"q is a text of 1 to {MAX_QUERY} characters")
        source = f"(?m:{text})" if regex else re2.escape(text)
        options = re2.Options()
        options.case_sensitive = case
        options.never_nl = True
        options.never_capture = True
        options.log_errors = False
        if regex:
            options.max_mem = PATTERN_MEMORY
        try:
            if regex:
                re2.compile(text.encode(errors="replace"), options=options)
            self._pattern = re2.compile(source.encode(errors="replace"), options=options)
        except re2.error as error:
            reason = error.args[0] if error.args else error
            reason = reason.decode(errors="replace") if isinstance(reason, bytes) else reason
            raise BadQuery(f"q is no regular expression: {reason}") from error
        self._coloured = None
        if not regex and "\ufffd" not in text:
            characters = (re2.escape(each) for each in text[:_MAX_COLOURED])
            options.never_nl = False
            coloured = _GAP.join(each.encode(errors="replace") for each in characters)
            self._coloured = re2.compile(coloured, options=options)

    @property
    def block_bytes(self) -> int:
        """The bytes of a block to scan: about a tenth of a second at most, if its lines are short."""
        size: int = self._pattern.programsize
        return max(SMALLEST_BLOCK, min(LARGEST_BLOCK, _BLOCK_STEPS // size))

    def scan(self, block: bytes, line: int, limit: int) -> tuple[list[LogMatch], int]:
        """Scan whole lines as a log stores them, the first of which is number `line`.

        Returns the first `limit` lines that match, and the number of all that do.
        """
        if not self._may_match(block):
            return [], 0
        text = strip_lines(block)
        matches: list[LogMatch] = []
        count = counted = 0
        for begin, end in self._matching_lines(text):
            count += 1
            if len(matches) < limit:
                line += text.count(b"\n", counted, begin)
                counted = begin
                matches.append(self._match(text[begin:end], line))
        return matches, count

    def _may_match(self, block: bytes) -> bool:
        """Return False if no line of a block matches, before it is stripped."""
        if self._coloured is None or not (block.isascii() or _is_utf8(block)):
            return True
        return self._coloured.search(block) is not None

    def _matching_lines(self, text: bytes) -> Iterator[tuple[int, int]]:
        """Yield where each line that matches begins and ends."""
        at = 0
        while at < len(text) and (found := self._pattern.search(text, at)):
            begin = text.rfind(b"\n", at, found.start()) + 1 or at
            end = text.find(b"\n", found.start())
            if end < 0:
                return
            yield begin, end
            at = end + 1

    def _match(self, line: bytes, number: int) -> LogMatch:
        byte_spans = []
        for found in self._pattern.finditer(line):
            byte_spans.append(found.span())
            if len(byte_spans) == MAX_SPANS:
                break
        text = line.decode("utf-8", "replace")
        spans: list[tuple[int, int]] = []
        at = units = 0
        for begin, end in byte_spans:
            first = units + _utf16_length(line[at:begin])
            units, at = first + _utf16_length(line[begin:end]), end
            spans.append((first, units))
        start = 0
        if len(text) > MAX_EXCERPT:
            first = len(line[: byte_spans[0][0]].decode("utf-8", "replace")) if byte_spans else 0
            start = max(0, min(first - _CONTEXT_BEFORE, len(text) - MAX_EXCERPT))
        excerpt = text[start : start + MAX_EXCERPT]
        return LogMatch(number, excerpt, _utf16_length(text[:start].encode()), tuple(spans))


def _is_utf8(text: bytes) -> bool:
    """Return whether all of a text is UTF-8: RE2 passes over what is not."""
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True


def _utf16_length(text: bytes) -> int:
    """Return the UTF-16 code units of some UTF-8."""
    if text.isascii():
        return len(text)
    return len(text.decode("utf-8", "replace").encode("utf-16-le")) // 2


def format_cursor(row: int, line: int) -> str:
    """Return the position after a line of a step, as addresses have it."""
    return f"{row}-{line}"


def parse_cursor(text: str) -> tuple[int, int]:
    """Return a cursor's row and line. Raises BadQuery."""
    found = re.fullmatch(r"([0-9]{1,18})-([0-9]{1,18})", text, re.ASCII)
    if found is None:
        raise BadQuery("after must be the next of an earlier answer")
    return int(found[1]), int(found[2])


def routes(context: WebContext) -> Blueprint:
    """Return the route."""
    blueprint = Blueprint("search", __name__)
    slots = trio.Semaphore(MAX_SEARCHES)

    @blueprint.get("/runs/<run_id>/search")
    async def search(run_id: str) -> str | Response:
        """Return lines of a run that match `q`, in the order of its steps and their lines.

        `regex=yes`: q is a regular expression; `case=yes`: match case; `vertex`: search one step's log
        only; `limit`: matches in the answer; `after`: the `next` of the previous answer.
        """
        run = await visible_run(context, run_id)
        if run is None:
            abort_not_found("run")
        args = request.args
        try:
            query = LogQuery(
                args.get("q", ""),
                regex=args.get("regex") == "yes",
                case=args.get("case") == "yes",
            )
            after = parse_cursor(args["after"]) if args.get("after") else None
        except BadQuery as error:
            abort(400, str(error))
        steps = await context.store.steps.of_run(run_id)
        if wanted := args.get("vertex"):
            steps = [step for step in steps if str(step.row) == wanted]
            if not steps:
                abort(404, "the run has no such step")
        limit = max(1, min(args.get("limit", DEFAULT_LIMIT, int), MAX_LIMIT))
        try:
            slots.acquire_nowait()
        except trio.WouldBlock:
            abort(503, "too many searches are running: try again in a moment")
        try:
            found = RunSearch(
                context.store, run_id, query, limit, context.scan_limiter, counts=after is None
            )
            seconds = PROGRESS_SECONDS if wants_json() else SEARCH_SECONDS
            await found.run(steps, after, time.perf_counter() + seconds)
        finally:
            slots.release()
        answer = found.json()
        if wants_json():
            return jsonify(answer)
        asked = {name: args[name] for name in ("q", "regex", "case", "vertex") if args.get(name)}
        return await render_template(
            "search.html",
            view=view_run(run, time.time()),
            asked=asked,
            names={step.row: one_line(step.name) for step in steps},
            found=answer,
            matches=found.matches,
            page_lines=STEP_PAGE_LINES,
            next=urlencode({**asked, "after": answer["next"]}) if answer["next"] else None,
        )

    return blueprint


@dataclass(eq=False)
class RunSearch:
    """One request's search of a run, and what it has found.

    Args:
        counts: whether all matches are counted, and not only whether there are more than the limit.
        position: the step and the line that were searched last.
    """

    store: Store
    run_id: str
    query: LogQuery
    limit: int
    limiter: trio.CapacityLimiter
    counts: bool
    matches: list[tuple[int, LogMatch]] = field(default_factory=list)
    count: int = 0
    complete: bool = False
    searched: int = 0
    lines: int = 0
    position: tuple[int, int] = (0, 0)

    async def run(
        self, steps: Sequence[Step], after: tuple[int, int] | None, deadline: float
    ) -> None:
        """Search the logs from a position on, until the answer is full or time is up."""
        self.lines = sum(step.lines for step in steps)
        first = start = 0
        if after is not None:
            row, start = after[0], after[1] + 1
            indexes = [index for index, step in enumerate(steps) if step.row == row]
            first = indexes[0] if indexes else len(steps)
        before = sum(step.lines for step in steps[:first])
        for step in steps[first:]:
            if not await self._search_log(step.row, start, deadline):
                self.searched = before + self.position[1] + 1
                return
            before += step.lines
            start = 0
        self.complete = True
        self.searched = self.lines

    async def _search_log(self, row: int, start: int, deadline: float) -> bool:
        """Search one log, and return whether to go on."""
        enough = False

        def visit(block: LogText) -> bool:
            nonlocal enough
            room = self.limit - len(self.matches)
            matches, count = self.query.scan(block.text, block.line, room)
            self.matches += [(row, match) for match in matches]
            self.count += count
            self.position = row, block.line + block.lines - 1
            enough = (
                time.perf_counter() >= deadline
                or self.count >= MAX_COUNT
                or (not self.counts and self.count > self.limit)
            )
            return not enough

        await self.store.logs.scan(
            self.run_id, row, start, visit, self.limiter, block_bytes=self.query.block_bytes
        )
        return not enough

    def json(self) -> dict[str, Any]:
        """Return the answer."""
        more = not self.complete or self.count > len(self.matches)
        following = None
        if more and self.count > len(self.matches):
            row, match = self.matches[-1]
            following = format_cursor(row, match.line)
        elif more:
            following = format_cursor(*self.position)
        return {
            "matches": [{"vertex": row, **asdict(match)} for row, match in self.matches],
            "total": self.count if self.counts else None,
            "complete": self.complete,
            "searched": min(self.searched, self.lines),
            "lines": self.lines,
            "more": more,
            "next": following,
        }
