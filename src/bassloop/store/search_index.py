"""The indexes for searching a repository's runs: the errors that made them fail, and a filter for each log.

A log's filter excludes texts that aren't in the log. It's a Bloom filter of the log's trigrams: all sequences of three
ASCII letters or digits, with letters in lower case and each digit replaced by 0. If a trigram of the text isn't in the
filter, the text isn't in the log. Otherwise it may be, so the log has to be read. Words that differ only in their
digits count once, which covers most of a long log.
"""

from __future__ import annotations

import json
import sys
from array import array
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING

from bassloop.concurrency import AutoResetEvent
from bassloop.store.claims import LIVE
from bassloop.store.engine import Subject, page_size, reads, writes
from bassloop.store.errors import NotStored
from bassloop.store.records import ErrorSearch, RepeatedError
from bassloop.store.runs import READABLE

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from bassloop.store.database import Connection
    from bassloop.store.engine import Engine


UNKNOWN = b""
"""Replaces the filter of a log with too many different words, which may contain any text."""

MIN_BYTES, MAX_BYTES = 32, 8 << 10
"""The size of a filter, which has at least twice as many bits as trigrams, as far as possible. With all possible
trigrams, a third of the bits of the largest filter is set."""

MAX_DISTINCT = 1 << 20
"""The maximum total length of a log's different words, in bytes, for it to get a filter."""

_PIECE = 64 << 10
"""How many bytes are split into trigrams before other threads get a turn."""

_SPACE = ord(" ")
_KEPT = b"\nabcdefghijklmnopqrstuvwxyz"
_FOLD = bytes(
    ord("0") if chr(code).isdigit() and code < 0x80 else code if code in _KEPT else _SPACE
    for code in b"".join(bytes([code]).lower() for code in range(256))
)
"""A translation table: digits become 0, letters lower case, and everything else but newlines a space."""

_LIKE_ASCII = (("\u212a".encode(), b"k"), ("\u017f".encode(), b"s"))
"""The only characters outside ASCII that equal an ASCII letter when case is ignored: the Kelvin sign and the long s."""

RUNS_AT_ONCE = 1_000
"""How many runs one query covers, so that other readers get a turn."""

LOGS_AT_ONCE = 20
"""How many logs are indexed between two queries for more."""

MAX_LINES = 20
"""The maximum number of error lines of one run."""

MAX_LINE = 500
MAX_BRANCHES = 10

MAX_RUNS_SEARCHED, MAX_RUNS_LISTED = 20_000, 1_000
"""How many runs of a repository one search covers, with a text and without one."""

_VISIBLE = f"r.repository = :repository COLLATE NOCASE AND {READABLE}"

_MATCHING = (
    f"FROM runs r JOIN error_lines e ON e.run = r.seq WHERE {_VISIBLE} "
    "AND r.seq BETWEEN :oldest AND :newest AND e.folded LIKE :pattern ESCAPE '\\'"
)


class FilterBuilder:
    """Builds the filter of one log from its text."""

    def __init__(self) -> None:
        self._trigrams: set[int] = set()
        self._words: set[bytes] = set()
        self._distinct = 0

    def add(self, text: bytes) -> bool:
        """Add whole lines, without escape sequences. Return False once the log can't get a filter."""
        if not text.isascii():
            for other, letter in _LIKE_ASCII:
                text = text.replace(other, letter)
        lines = set(text.translate(_FOLD).split(b"\n"))
        new = set(b" ".join(lines).split()) - self._words
        self._words |= new
        words = b" ".join(new)
        self._distinct += len(words)
        for start in range(0, len(words), _PIECE):
            self._trigrams |= _trigrams(words[start : start + _PIECE + 2])
        return self._distinct <= MAX_DISTINCT

    def filter(self) -> bytes:
        """Return the filter, or UNKNOWN if there are too many different words."""
        if self._distinct > MAX_DISTINCT:
            return UNKNOWN
        within = [
            trigram
            for trigram in self._trigrams
            if trigram & 0xFF != _SPACE
            and trigram >> 8 & 0xFF != _SPACE
            and trigram >> 16 != _SPACE
        ]
        size = MIN_BYTES
        while size < MAX_BYTES and size * 8 < 2 * len(within):
            size *= 2
        bits = bytearray(size)
        for position in _positions(within, size):
            bits[position >> 3] |= 1 << (position & 7)
        return bytes(bits)


class FilterQuery:
    """A text to test filters with, ignoring case."""

    def __init__(self, text: str) -> None:
        folded = text.encode(errors="replace").translate(_FOLD)
        self._trigrams = sorted(
            int.from_bytes(piece, "little")
            for piece in {folded[at : at + 3] for at in range(len(folded) - 2)}
            if piece.isalnum()
        )
        self._masks: dict[int, list[tuple[int, int]]] = {}

    def may_match(self, filter_: bytes) -> bool:
        """Return False if the log with this filter can't contain the text."""
        if filter_ == UNKNOWN:
            return True
        masks = self._masks.get(len(filter_))
        if masks is None:
            positions = _positions(self._trigrams, len(filter_))
            masks = [(position >> 3, 1 << (position & 7)) for position in positions]
            self._masks[len(filter_)] = masks
        return all(filter_[at] & mask for at, mask in masks)


def _trigrams(text: bytes) -> set[int]:
    """Return all trigrams of a text, including ones across words, as numbers.

    An array reads four bytes at a time as a number, which is much faster than a Python loop. The fourth byte is
    dropped only after deduplication.
    """
    padded = text + b"\n"
    quads: set[int] = set()
    for start in range(4):
        numbers = array("I", padded[start : start + (len(padded) - start) // 4 * 4])
        if sys.byteorder == "big":
            numbers.byteswap()
        quads.update(numbers)
    return {quad & 0xFFFFFF for quad in quads}


def _positions(trigrams: Iterable[int], size: int) -> list[int]:
    """Return the bit positions of trigrams in a filter of `size` bytes, a power of two."""
    last = size * 8 - 1
    return [(trigram * 0x9E3779B1 >> 12) & last for trigram in trigrams]


@dataclass(frozen=True, slots=True)
class SearchableRun:
    """A run, and its logs that may contain a text.

    Args:
        steps: the rows of the logs' steps, in order.
        without_filter: how many of these logs have no filter, because they are being written, aren't
            indexed yet, or have too many different words.
    """

    id: str
    created_at: float
    steps: tuple[int, ...]
    without_filter: int


@dataclass(frozen=True, slots=True)
class IndexedLogs:
    """The result of searching the index of logs.

    Args:
        runs: all runs that were searched, newest first, including those without a matching log.
        more: whether there may be older runs.
    """

    runs: tuple[SearchableRun, ...]
    more: bool


class LogIndex(Subject):
    """The index of logs.

    Attributes:
        log_closed: set when there is a log to index.
    """

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine)
        self.log_closed = AutoResetEvent()

    @reads
    def pending(self, db: Connection) -> list[tuple[str, int]]:
        """Return the run ids and step rows of some complete logs without a filter, newest first.

        Covers the runs of this node and of lost nodes. Other nodes index their own.
        """
        rows = db.execute(
            "SELECT v.run_id, v.id FROM vertexes v JOIN runs r ON r.id = v.run_id "
            "WHERE v.indexed = 0 AND v.log_state IN ('closed', 'cut') "
            f"AND (r.node = ? OR r.node NOT IN ({LIVE})) ORDER BY v.id DESC LIMIT ?",
            (self._engine.node, LOGS_AT_ONCE),
        )
        return [(row["run_id"], row["id"]) for row in rows]

    @writes
    def put(self, db: Connection, filters: Sequence[tuple[int, bytes]]) -> None:
        """Store filters, given as pairs of a step's row and its filter. Ignores steps that were pruned meanwhile."""
        for row, content in filters:
            db.execute(
                "INSERT INTO log_filters (vertex, filter) SELECT id, :filter FROM vertexes "
                "WHERE id = :row ON CONFLICT (vertex) DO UPDATE SET filter = excluded.filter",
                {"row": row, "filter": content},
            )
            db.execute("UPDATE vertexes SET indexed = 1 WHERE id = ?", (row,))

    @reads
    def search(
        self,
        db: Connection,
        repository: str,
        query: FilterQuery,
        *,
        before: str | None = None,
        readable: Collection[int] = (),
    ) -> IndexedLogs:
        """Return which logs of a repository's next RUNS_AT_ONCE runs, newest first, may contain a text.

        Args:
            repository: its full name, in any case.
            before: the id of the last run of an earlier result.
            readable: the ids of private repositories to include.
        """
        # Not even the position of a hidden run may leak.
        older = f"AND r.seq < (SELECT r.seq FROM runs r WHERE r.id = :before AND {_VISIBLE})"
        rows = db.execute(
            "SELECT r.id AS run, r.created_at, v.id AS step, f.filter FROM ("
            f"SELECT r.id, r.seq, r.created_at FROM runs r WHERE {_VISIBLE} {older if before else ''} "
            "ORDER BY r.seq DESC LIMIT :runs) AS r "
            "LEFT JOIN vertexes v ON v.run_id = r.id AND v.log_state != 'none' "
            "LEFT JOIN log_filters f ON f.vertex = v.id ORDER BY r.seq DESC, v.position",
            {
                "repository": repository,
                "readable": json.dumps(sorted(readable)),
                "before": before,
                "runs": RUNS_AT_ONCE,
            },
        )
        runs = []
        for (run, created_at), steps in groupby(rows, itemgetter("run", "created_at")):
            found, without = [], 0
            for row in steps:
                if row["step"] is None:  # the run has no logs
                    continue
                content = UNKNOWN if row["filter"] is None else bytes(row["filter"])
                if query.may_match(content):
                    found.append(row["step"])
                    without += content == UNKNOWN
            runs.append(SearchableRun(run, created_at, tuple(found), without))
        return IndexedLogs(tuple(runs), len(runs) == RUNS_AT_ONCE)


class ErrorLines(Subject):
    """The index of error lines."""

    @writes
    def put(self, db: Connection, run_id: str, lines: Sequence[str]) -> None:
        """Store the error lines of a run, replacing earlier ones. Raises NotStored for an unknown run."""
        row = db.execute("SELECT seq FROM runs WHERE id = ?", (run_id,)).fetchone()
        if row is None:
            raise NotStored(f"no run {run_id} is stored")
        db.execute("DELETE FROM error_lines WHERE run = ?", (row["seq"],))
        kept = list(dict.fromkeys(line[:MAX_LINE] for line in lines if line))[:MAX_LINES]
        db.executemany(
            "INSERT INTO error_lines (run, text, folded) VALUES (?, ?, ?)",
            [(row["seq"], line, line.casefold()) for line in kept],
        )

    @reads
    def search(
        self,
        db: Connection,
        repository: str,
        text: str,
        limit: int = 50,
        *,
        before: str | None = None,
        readable: Collection[int] = (),
    ) -> ErrorSearch:
        """Return the errors of a repository that contain a text, ignoring case, latest first.

        Searches a limited number of runs. The result has their number, and the cursor for the next ones.

        Args:
            repository: its full name, in any case.
            text: empty for all errors.
            before: the `next` of an earlier result.
            readable: the ids of private repositories to include.
        """
        values = {
            "repository": repository,
            "pattern": f"%{_escaped(text.casefold())}%",
            "readable": json.dumps(sorted(readable)),
            "runs": MAX_RUNS_SEARCHED if text else MAX_RUNS_LISTED,
            "before": before,
        }
        older = f"AND r.seq < (SELECT r.seq FROM runs r WHERE r.id = :before AND {_VISIBLE})"
        searched = db.execute(
            "SELECT count(*) AS runs, min(s.seq) AS oldest, max(s.seq) AS newest FROM ("
            f"SELECT r.seq FROM runs r WHERE {_VISIBLE} {older if before else ''} "
            "ORDER BY r.seq DESC LIMIT :runs) s",
            values,
        ).fetchone()
        values |= {"oldest": searched["oldest"], "newest": searched["newest"]}
        rows = db.execute(
            "SELECT e.text, count(*) AS count, min(r.seq) AS first, max(r.seq) AS last "
            f"{_MATCHING} GROUP BY e.text ORDER BY last DESC LIMIT :limit",
            {**values, "limit": page_size(limit)},
        ).fetchall()
        branches = _branches(db, [row["text"] for row in rows], values)
        errors = tuple(
            RepeatedError(
                text=row["text"],
                count=row["count"],
                first_run=_run_id(db, row["first"]),
                last_run=_run_id(db, row["last"]),
                branches=tuple(branches[row["text"]])[:MAX_BRANCHES],
            )
            for row in rows
        )
        full = searched["runs"] == values["runs"]
        return ErrorSearch(
            errors, searched["runs"], _run_id(db, searched["oldest"]) if full else None
        )


def _branches(
    db: Connection, texts: Sequence[str], values: Mapping[str, object]
) -> dict[str, list[str]]:
    """Return the branches and pull requests on which each of these errors occurred, latest first."""
    rows = db.execute(
        "SELECT e.text, r.head_branch, r.pull_request, max(r.seq) AS last "
        f"{_MATCHING} AND e.text IN (SELECT value FROM json_each(:texts)) "
        "GROUP BY e.text, r.head_branch, r.pull_request ORDER BY last DESC",
        {**values, "texts": json.dumps(list(texts))},
    )
    found: dict[str, list[str]] = {text: [] for text in texts}
    for row in rows:
        name = row["head_branch"] or (f"#{row['pull_request']}" if row["pull_request"] else None)
        if name is not None and name not in found[row["text"]]:
            found[row["text"]].append(name)
    return found


def _escaped(text: str) -> str:
    """Escape a text for LIKE."""
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")


def _run_id(db: Connection, seq: int) -> str:
    row = db.execute("SELECT id FROM runs WHERE seq = ?", (seq,)).fetchone()
    return str(row["id"])
