"""On whose runtimes a head's checks run: the sender's, or for a fork's head its author's.

A maintainer who runs a stranger's check again must not run the stranger's code on their own machine
by accident. So the author's runtimes are used for a fork's head, and the runtimes of whoever approved
that head; when nobody knows whose head it is, and nobody approved it, none are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bassloop.access.policy import Hold
    from bassloop.github import Event, PullRequest, User

INSIDERS = frozenset({"OWNER", "MEMBER", "COLLABORATOR"})
KNOWN = INSIDERS | {"CONTRIBUTOR"}


@dataclass(frozen=True, slots=True)
class Whose:
    """Whose head it is, and whose runtimes are used for it.

    Args:
        owner: whose it is: a fork's author; the sender otherwise, or where nobody knows.
        users: whose runtimes are used, the first that are connected; nobody's when it is empty.
        fork: whether the head is a fork's, as far as anybody knows.
        association: what a fork's author is to the repository, as GitHub words it.
        base: the branch that a fork's head is for, where that is known.
        approver: who said yes to a fork's head.
    """

    owner: User
    users: tuple[User, ...]
    fork: bool
    association: str | None = None
    base: str | None = None
    approver: User | None = None

    def approved(self, by: User) -> Whose:
        """The same, after somebody said yes to it. What is no fork's needs no approval."""
        if not self.fork:
            return self
        others = tuple(user for user in self.users if user.id != by.id)
        return Whose(self.owner, (*others, by), True, self.association, self.base, by)

    def falling_back(self, to: Sequence[User]) -> Whose:
        """The same, with whose runtimes are used where none of the sender's is connected."""
        if self.fork:
            return self
        others = tuple(user for user in to if user not in self.users)
        return Whose(self.owner, (*self.users, *others), False)


def whose_head(event: Event, pull_requests: Sequence[PullRequest] = ()) -> Whose:
    """Decide from the event and, for a head that it does not place, the pull requests with that head.

    Pure. `event` has a sender and a head (see :mod:`bassloop.deliveries.routing`). A bot has no runtimes.
    """
    assert event.sender is not None
    assert event.head is not None
    head, sender = event.head, event.sender
    fork, author, association, base = head.fork, head.author, head.association, head.base
    if fork is None:
        fork, author, association, base = _placed(pull_requests)
    if not fork:
        return Whose(sender, () if sender.bot else (sender,), fork=False)
    users = (author,) if author is not None and not author.bot else ()
    return Whose(author or sender, users, True, association, base)


def why_held(whose: Whose, hold: Hold) -> str | None:
    """Why a head has to wait for somebody's approval before anything is evaluated; None when it has not.

    Pure. An approval that was given does not change it.
    """
    if not whose.fork:
        return None
    author = whose.owner.login
    if not [user for user in whose.users if user != whose.approver]:
        return "the head may come from a fork, and nobody knows whose"
    if hold == "first-timers" and whose.association not in KNOWN:
        return f"{author} has not contributed to this repository before"
    if hold == "outsiders" and whose.association not in INSIDERS:
        return f"{author} does not belong to this repository"
    return None


def _placed(
    pull_requests: Sequence[PullRequest],
) -> tuple[bool, User | None, str | None, str | None]:
    """Whether a head is a fork's, whose, what that is to the repository, and what branch it is for.

    From the pull requests that have it; unknown is a fork, and what they differ in is not known.
    """
    if not any(pull.fork for pull in pull_requests):
        return not pull_requests, None, None, None
    forks = [pull for pull in pull_requests if pull.fork]
    authors = {pull.author.id: pull.author for pull in forks if pull.author}
    if len(authors) != 1:
        return True, None, None, None
    associations, bases = {pull.association for pull in forks}, {pull.base for pull in forks}
    return (
        True,
        next(iter(authors.values())),
        associations.pop() if len(associations) == 1 else None,
        bases.pop() if len(bases) == 1 else None,
    )
