"""The lines of a log for a pipe, where nothing that was printed can be changed.

A line is printed as soon as it is whole, although a program may still move up and rewrite it: hardly any does that
without a terminal. If one does, the line and those after it are printed again once they can't change any more, and no
other line of that log is printed before then. So each line of the log as it is stored is printed, in order.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


class PrintedLog:
    """The part of a log that was printed.

    Args:
        settled: how many of the lines that can't change any more were given to :meth:`settle`.
    """

    def __init__(self) -> None:
        self.settled = 0
        self._foreseen: dict[int, bytes] = {}
        self._is_rewritten = False

    def settle(self, lines: Sequence[bytes]) -> list[bytes]:
        """Return those of the next lines, which can't change any more, that have to be printed."""
        printed = []
        for number, line in enumerate(lines, self.settled):
            if self._foreseen.pop(number, None) != line:
                self._foreseen.clear()  # what comes after this line has to be printed after it
                printed.append(line)
        self.settled += len(lines)
        return printed

    def foresee(self, first: int, lines: Sequence[bytes], *, ended: bool) -> list[bytes]:
        """Return those of the lines that may still change, but probably won't, that have to be printed.

        Args:
            first: the number of the first one.
            ended: they won't change, as the program has ended.
        """
        if first > self.settled:  # what is between isn't stored yet
            return []
        foreseen = self._foreseen
        numbered = [pair for pair in enumerate(lines, first) if pair[0] >= self.settled]
        for changed, line in numbered:
            if foreseen.get(changed, line) != line:
                self._is_rewritten = True
                self._foreseen = foreseen = {n: foreseen[n] for n in foreseen if n < changed}
                break
        if self._is_rewritten and not ended:
            return []
        fresh = {number: line for number, line in numbered if number not in foreseen}
        foreseen.update(fresh)
        return list(fresh.values())
