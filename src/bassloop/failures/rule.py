"""A rule: the messages of one tool that fails. A tool is added by a row in one of the tables of :mod:`rules`.

A rule's `start` opens a failure at the line that it matches. The lines after it belong to the
failure until `until` matches, or `lines` of them have passed; on each of them the first of `within`
that matches adds what it names. Named groups say what is found:

    test                the test's name
    message             a line of the message; each match adds one
    path, line, column  a location
    detail              a line of the message, kept only where there is no other

Patterns are RE2's, matched against lines without colours, cut to `MAX_LINE` characters. Each rule is
held to real output in ``tests/failures/corpus``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bassloop.failures.failure import Rank

PATH = r"(?P<path>(?:file://)?[\pL\pN_.@~+/\\$-][^\s:\"'()<>|,;\[\]]{0,299})"
AT = rf"{PATH}:(?P<line>\d{{1,7}})(?::(?P<column>\d{{1,5}}))?"


@dataclass(frozen=True, slots=True)
class Rule:
    """The pattern of one kind of failure of a tool.

    Args:
        start: the pattern of the line that opens it.
        within: patterns tried on each line that follows.
        until: the pattern of the first line that doesn't belong to it any more.
        lines: how many lines may follow at most.
        innermost_last: whether the last location is the most telling, as in a Python traceback.
        needs: the group without which it doesn't count, ``message`` or ``line``.
        context: a pattern that an earlier line must have matched, where `start` alone is not telling.
        each: whether each match of `within` is a failure of its own, as in a list below a file's name.
        ends: the group that ends it once it is found.
        generic: whether it gives way to any other rule that knows the same line.
        supplement: whether it only adds to a failure of the same test that is found elsewhere.
    """

    tool: str
    rank: Rank
    start: str
    within: tuple[str, ...] = ()
    until: str | None = None
    lines: int = 0
    innermost_last: bool = False
    needs: str | None = None
    context: str | None = None
    each: bool = False
    ends: str | None = None
    generic: bool = False
    supplement: bool = False
