"""On whose runtimes a head's checks run: the sender's, or for a fork's head its author's.

A maintainer who runs a stranger's check again must not run the stranger's code on their own machine
by accident. So the author's runtimes are used for a fork's head, and when nobody knows whose head it
is, none are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bassloop.github import Event, PullRequest, User


@dataclass(frozen=True, slots=True)
class Whose:
    """Whose runtimes to use; `user` is None when none may be used, and `why` says why not."""

    user: User | None
    why: str
    fork: bool


def whose_runtimes(event: Event, pull_requests: Sequence[PullRequest] = ()) -> Whose:
    """Decide from the event and, for a head that it does not place, the pull requests with that head.

    Pure. `event` has a sender and a head (see :mod:`bassloop.dispatch.events`).
    """
    assert event.sender is not None
    assert event.head is not None
    fork, author = event.head.fork, event.head.author
    if fork is None:
        fork, author = _placed(pull_requests)
    if not fork:
        return Whose(event.sender, f"sent by {event.sender.login}", fork=False)
    if author is None:
        why = "the head may come from a fork whose author is not known"
        return Whose(None, why, fork=True)
    return Whose(author, f"the head is {author.login}'s, from a fork", fork=True)


def _placed(pull_requests: Sequence[PullRequest]) -> tuple[bool, User | None]:
    """Whether a head is a fork's and whose, from the pull requests that have it; unknown is a fork."""
    authors = {pull.author.id: pull.author for pull in pull_requests if pull.fork and pull.author}
    if any(pull.fork for pull in pull_requests):
        return True, next(iter(authors.values())) if len(authors) == 1 else None
    return not pull_requests, None
