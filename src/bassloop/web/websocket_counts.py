"""Limits on open websockets: each is a connection, a task, and a page that hears of every change.

Strangers are counted by address, and people who have signed in by person. Each of the two kinds has as many, so that
strangers can't use up what those who have signed in need.
"""

from __future__ import annotations

from collections import Counter
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from bassloop.addresses import origins

if TYPE_CHECKING:
    from collections.abc import Generator

NETWORK_FACTOR = 4
"""How many times as many as one address a whole /48 of IPv6 may have."""


class TooManyWebsockets(Exception):
    """A websocket is one too many. The message fits into a close frame, and says of whom there are too many."""


class WebsocketCounts:
    """The open websockets of each visitor.

    Args:
        total: the maximum for all strangers, and for all who have signed in.
        per_visitor: the maximum for one address of strangers, and for one person.

    Attributes:
        refused: how many there were that were too many.
    """

    def __init__(self, total: int, per_visitor: int) -> None:
        self._total = total
        self._per_visitor = per_visitor
        self._strangers: Counter[str] = Counter()
        self._networks: Counter[str] = Counter()
        self._people: Counter[str] = Counter()
        self.refused = 0

    def __repr__(self) -> str:
        return f"<WebsocketCounts: {self.open} open, {self.refused} refused>"

    @property
    def open(self) -> int:
        """The number of open websockets."""
        return self._strangers.total() + self._people.total()

    @contextmanager
    def one_more(self, address: str, person: int | None) -> Generator[None]:
        """Count a websocket while the body runs. Raises TooManyWebsockets.

        Args:
            person: the id of somebody who has signed in; None for a stranger.
        """
        origin, network = origins(address)
        with ExitStack() as stack:
            try:
                if person is not None:
                    self._check(self._people, str(person), "you have")
                    stack.enter_context(_one_more(self._people, str(person)))
                else:
                    self._check(self._strangers, origin, f"{origin} has")
                    most = NETWORK_FACTOR * self._per_visitor
                    if network != origin and self._networks[network] >= most:
                        raise TooManyWebsockets(f"{network} has {most} pages open already")
                    stack.enter_context(_one_more(self._strangers, origin))
                    stack.enter_context(_one_more(self._networks, network))
            except TooManyWebsockets:
                self.refused += 1
                raise
            yield

    def _check(self, counts: Counter[str], key: str, who: str) -> None:
        if counts[key] >= self._per_visitor:
            raise TooManyWebsockets(f"{who} {self._per_visitor} pages open already")
        if counts.total() >= self._total:
            raise TooManyWebsockets(f"visitors have {self._total} pages open already")


@contextmanager
def _one_more(counts: Counter[str], key: str) -> Generator[None]:
    counts[key] += 1
    try:
        yield
    finally:
        counts[key] -= 1
        if not counts[key]:
            del counts[key]
