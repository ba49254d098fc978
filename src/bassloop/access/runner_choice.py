"""The choice of runners for a head's checks: the sender's or, for a fork's head, its author's.

A maintainer who reruns a stranger's check must not run the stranger's code on their own machine by
accident. So a fork's head runs on its author's runners, and on those of whoever approved that head. If
nobody knows whose head it is and nobody approved it, it runs on none.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bassloop.access.policy import Hold
    from bassloop.github import Event, PullRequest, User

INSIDERS = frozenset({"OWNER", "MEMBER", "COLLABORATOR"})
CONTRIBUTORS = INSIDERS | {"CONTRIBUTOR"}


@dataclass(frozen=True, slots=True)
class RunnerChoice:
    """The users whose runners a head's checks may run on.

    Args:
        owner: the head's owner: a fork's author, or the sender if it isn't a fork's or nobody knows.
        users: the users whose runners are used, in order of preference.
        fork: whether the head is a fork's, as far as is known.
        association: the relation of a fork's author to the repository, in GitHub's words.
        base: the branch that a fork's head is meant for, if known.
        approver: who approved a fork's head.
    """

    owner: User
    users: tuple[User, ...]
    fork: bool
    association: str | None = None
    base: str | None = None
    approver: User | None = None

    def approved(self, by: User) -> RunnerChoice:
        """Return the choice with the approver's runners added. Only a fork's head needs an approval."""
        if not self.fork:
            return self
        others = tuple(user for user in self.users if user.id != by.id)
        return replace(self, users=(*others, by), approver=by)

    def with_fallback(self, users: Sequence[User]) -> RunnerChoice:
        """Return the choice with fallback runners added. A fork's head has no fallback."""
        if self.fork:
            return self
        others = tuple(user for user in users if user not in self.users)
        return replace(self, users=(*self.users, *others))


def choose_runners(event: Event, pull_requests: Sequence[PullRequest] = ()) -> RunnerChoice:
    """Choose the runners for an event that has a sender and a head. Bots have no runners.

    Args:
        pull_requests: the open ones with this head, for an event that doesn't say whether it is a fork's.
    """
    assert event.sender is not None
    assert event.head is not None
    head, sender = event.head, event.sender
    fork, author, association, base = head.fork, head.author, head.association, head.base
    if fork is None:
        fork, author, association, base = _origin(pull_requests)
    if not fork:
        return RunnerChoice(sender, () if sender.bot else (sender,), fork=False)
    users = (author,) if author is not None and not author.bot else ()
    return RunnerChoice(author or sender, users, True, association, base)


def hold_reason(choice: RunnerChoice, hold: Hold) -> str | None:
    """Return why a head needs an approval before its hook runs, or None if it doesn't.

    It doesn't matter here whether it has been approved already.
    """
    if not choice.fork:
        return None
    author = choice.owner.login
    if not [user for user in choice.users if user != choice.approver]:
        return "the head may come from a fork, and nobody knows whose"
    if hold == "first-timers" and choice.association not in CONTRIBUTORS:
        return f"{author} has not contributed to this repository before"
    if hold == "outsiders" and choice.association not in INSIDERS:
        return f"{author} does not belong to this repository"
    return None


def _origin(
    pull_requests: Sequence[PullRequest],
) -> tuple[bool, User | None, str | None, str | None]:
    """Return whether a head is a fork's, its author, their association, and the base branch.

    An unknown head counts as a fork's. Whatever the pull requests disagree on counts as unknown.
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
