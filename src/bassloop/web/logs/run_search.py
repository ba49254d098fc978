"""Search in all logs of a run.

Blocks of lines are read and scanned in threads, for 0.1 s at a time, with at most two threads for all visitors, so
that everybody gets a turn. A search holds one block and one page of matches in memory. When too many searches are
running, further ones are refused.

A query is compiled to an RE2 pattern, so matching takes linear time. The cost of each byte may be proportional to the
pattern's size, so that is bounded, and large patterns are matched against small blocks. RE2 releases the GIL, and
Python code runs only for matching lines. A plain text is first searched in the unmodified block, allowing escape
sequences between its characters: most blocks don't contain it, and needn't be stripped.
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
from bassloop.web.guard import run_or_404
from bassloop.web.presentation import STEP_PAGE_LINES, view_run, wants_json

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from bassloop.store import LogText, Step, Store
    from bassloop.web.web_context import WebContext


MAX_QUERY = 500
"""The maximum length of a query, in characters."""

MAX_EXCERPT = 500
"""How many characters of a matching line are returned."""

MAX_SPANS = 50
"""How many matches in one line are returned."""

PATTERN_MEMORY = 256 << 10
"""The maximum memory for a pattern, in bytes. With RE2's default, compiling one may take 0.3 s."""

LARGEST_BLOCK, SMALLEST_BLOCK = 256 << 10, 4 << 10
"""The bounds on the size of a block, in bytes."""

_BLOCK_STEPS = 16 << 20
"""The product of a block's bytes and a pattern's instructions: about 0.1 s if RE2 follows all of them at once."""

_CONTEXT_BEFORE = 80

_MAX_COLOURED = 64
"""How many characters of a text are searched for in blocks that aren't stripped."""

_GAP = b"(?:%b)*" % INVISIBLE.pattern.replace(b"*+", b"*").replace(b"?+", b"?")
"""What stripping may remove between two characters, or more, since RE2 has no possessive quantifiers."""

DEFAULT_LIMIT = 200
MAX_LIMIT = 1000

MAX_COUNT = 100_000
"""The number of matches after which counting stops."""

SEARCH_SECONDS = 20.0
"""How long one request searches for a page without JavaScript."""

PROGRESS_SECONDS = 3.0
"""How long one request searches for a script, which shows the progress and continues with another one."""

MAX_SEARCHES = 16
"""The maximum number of concurrent searches."""


class BadQuery(ValueError):
    """An invalid query. The message says what is wrong with it."""


@dataclass(frozen=True, slots=True)
class LogMatch:
    """A matching line. Offsets are in UTF-16 code units, as in a browser.

    Args:
        text: an excerpt of the line.
        start: the offset of the excerpt in the line.
        spans: start and end of each match in the line.
    """

    line: int
    text: str
    start: int
    spans: tuple[tuple[int, int], ...]

    def pieces(self) -> list[tuple[str, bool]]:
        """Split the excerpt into pairs of a text and whether it is a match."""
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
            raise BadQuery(f"q must have 1 to {MAX_QUERY} characters")
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
            raise BadQuery(f"q is not a regular expression: {reason}") from error
        self._coloured = None
        if not regex and "\ufffd" not in text:
            characters = (re2.escape(each) for each in text[:_MAX_COLOURED])
            options.never_nl = False
            coloured = _GAP.join(each.encode(errors="replace") for each in characters)
            self._coloured = re2.compile(coloured, options=options)

    @property
    def block_bytes(self) -> int:
        """The size of blocks to scan, in bytes, so that one takes at most about 0.1 s if its lines are short."""
        size: int = self._pattern.programsize
        return max(SMALLEST_BLOCK, min(LARGEST_BLOCK, _BLOCK_STEPS // size))

    def scan(self, block: bytes, line: int, limit: int) -> tuple[list[LogMatch], int]:
        """Scan a block of whole lines as stored, the first of which is number `line`.

        Returns the first `limit` matching lines, and the number of all of them.
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
        """Return False if no line can match, from the block before it is stripped."""
        if self._coloured is None or not (block.isascii() or _is_utf8(block)):
            return True
        return self._coloured.search(block) is not None

    def _matching_lines(self, text: bytes) -> Iterator[tuple[int, int]]:
        """Yield the start and end of each matching line."""
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
    """Return whether a text is valid UTF-8. RE2 doesn't match invalid bytes."""
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True


def _utf16_length(text: bytes) -> int:
    """Return the length of a UTF-8 text in UTF-16 code units."""
    if text.isascii():
        return len(text)
    return len(text.decode("utf-8", "replace").encode("utf-16-le")) // 2


def format_cursor(row: int, line: int) -> str:
    """Format the position after a line of a step, for URLs."""
    return f"{row}-{line}"


def parse_cursor(text: str) -> tuple[int, int]:
    """Parse a cursor to a step's row and a line. Raises BadQuery."""
    found = re.fullmatch(r"([0-9]{1,18})-([0-9]{1,18})", text, re.ASCII)
    if found is None:
        raise BadQuery("after must be the next of an earlier response")
    return int(found[1]), int(found[2])


def routes(context: WebContext) -> Blueprint:
    """Return the route."""
    blueprint = Blueprint("search", __name__)
    slots = trio.Semaphore(MAX_SEARCHES)

    @blueprint.get("/runs/<run_id>/search")
    async def search(run_id: str) -> str | Response:
        """Return the lines of a run that match `q`, in the order of its steps and their lines.

        `regex=yes`: q is a regular expression; `case=yes`: match case; `vertex`: search only this step's log;
        `limit`: the maximum number of matches; `after`: the `next` of the previous response.
        """
        run = await run_or_404(context, run_id)
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
        parameters = {
            name: args[name] for name in ("q", "regex", "case", "vertex") if args.get(name)
        }
        return await render_template(
            "search.html",
            view=view_run(run, time.time()),
            parameters=parameters,
            names={step.row: one_line(step.name) for step in steps},
            found=answer,
            matches=found.matches,
            page_lines=STEP_PAGE_LINES,
            next=urlencode({**parameters, "after": answer["next"]}) if answer["next"] else None,
        )

    return blueprint


@dataclass(eq=False)
class RunSearch:
    """The search of a run in one request, and its results.

    Args:
        counts: whether to count all matches, rather than stop once there are more than the limit.
        position: the step's row and the line that were searched last.
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
        """Search the logs after a position, until there are enough matches or time is up."""
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
        """Search one log, and return whether to continue."""
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
        """Return the results for JSON."""
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
