"""Limits on open websockets, since each costs a connection, a task, and an update for every change.

Anonymous visitors are counted by address, and users who have signed in by user. Each of the two groups has its own
limit, so that anonymous visitors can't use up that of users.
"""

from __future__ import annotations

from collections import Counter
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from bassloop.addresses import origins

if TYPE_CHECKING:
    from collections.abc import Generator

NETWORK_FACTOR = 4
"""A whole IPv6 /48 may have this many times as many websockets as one address."""


class TooManyWebsockets(Exception):
    """A limit on websockets is exceeded. The message says whose limit, and fits into a close frame."""


class WebsocketLimits:
    """The open websockets of each visitor.

    Args:
        total: the maximum for all anonymous visitors, and for all users.
        per_visitor: the maximum for one anonymous address, and for one user.

    Attributes:
        refused: how many websockets were refused.
    """

    def __init__(self, total: int, per_visitor: int) -> None:
        self._total = total
        self._per_visitor = per_visitor
        self._strangers: Counter[str] = Counter()
        self._networks: Counter[str] = Counter()
        self._people: Counter[str] = Counter()
        self.refused = 0

    def __repr__(self) -> str:
        return f"<WebsocketLimits: {self.open} open, {self.refused} refused>"

    @property
    def open(self) -> int:
        """The number of open websockets."""
        return self._strangers.total() + self._people.total()

    @contextmanager
    def one_more(self, address: str, person: int | None) -> Generator[None]:
        """Count a websocket while the body runs. Raises TooManyWebsockets.

        Args:
            person: the id of a user who has signed in; None for an anonymous visitor.
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
