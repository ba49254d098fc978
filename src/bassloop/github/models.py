"""GitHub's objects as frozen dataclasses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Payload = Mapping[str, Any]
"""An object of the API, parsed."""


@dataclass(frozen=True, slots=True)
class User:
    """A GitHub user. The numeric id is the identity; logins change hands. A `bot` belongs to an App."""

    id: int
    node_id: str
    login: str
    bot: bool = False


@dataclass(frozen=True, slots=True)
class Repository:
    """A repository. `visibility` is ``public``, ``private`` or ``internal``; unknown is private."""

    id: int
    node_id: str
    full_name: str
    owner: str
    name: str
    visibility: str
    clone_url: str
    html_url: str
    default_branch: str

    @property
    def private(self) -> bool:
        """True if its runs are only for people who may read it."""
        return self.visibility != "public"


@dataclass(frozen=True, slots=True)
class Head:
    """The commit that an event is about.

    Args:
        branch: the branch of this repository that it was pushed to; None if it's a fork's, a tag's, or unknown.
        ref: the full name of the ref that a push moved.
        repository: OWNER/NAME of the repository that has the commit, if the payload has it.
        fork: whether it came from a fork; None if the payload doesn't say.
        author: the author of a fork's head, if the payload has it.
        association: the relation of a pull request's author to the repository, in GitHub's words.
        base: the branch that a pull request is for.
    """

    sha: str
    branch: str | None = None
    pull_request: int | None = None
    fork: bool | None = None
    author: User | None = None
    ref: str | None = None
    repository: str | None = None
    association: str | None = None
    base: str | None = None

    @property
    def branch_or_pull(self) -> str | None:
        """The branch whose head it is, or ``#NUMBER`` for a fork's pull request."""
        if self.branch is not None:
            return self.branch
        return f"#{self.pull_request}" if self.fork and self.pull_request else None


@dataclass(frozen=True, slots=True)
class CheckSubject:
    """The check run or check suite that an event is about.

    Args:
        name: a check run's name.
        app_id: the App that it belongs to.
    """

    id: int | None
    name: str | None
    app_id: int | None


@dataclass(frozen=True, slots=True)
class Event:
    """The parts of a webhook event that the loop needs; None for those that the event doesn't have.

    Args:
        check: the check run or check suite of an event of that name.
        button: the identifier of the check run's button that was pressed.
        before: the head that this event's head replaced.
        member_id: the user whose membership has changed.
    """

    name: str
    action: str | None = None
    sender: User | None = None
    repository: Repository | None = None
    installation_id: int | None = None
    head: Head | None = None
    check: CheckSubject | None = None
    button: str | None = None
    before: str | None = None
    member_id: int | None = None

    @property
    def replaced_head(self) -> str | None:
        """The commit that was the head before this event's, or None."""
        if self.head is None or self.before is None or not self.before.strip("0"):
            return None
        return self.before if self.before != self.head.sha else None


@dataclass(frozen=True, slots=True)
class PullRequest:
    """An open pull request; `author` is the author of its head."""

    number: int
    fork: bool
    author: User | None
    association: str | None = None
    base: str | None = None


@dataclass(frozen=True, slots=True)
class Annotation:
    """An annotation on lines of a file. `level` is ``notice``, ``warning`` or ``failure``.

    Args:
        column: the column in the line; GitHub accepts it only for annotations of a single line.
    """

    path: str
    line: int
    message: str
    level: str = "failure"
    title: str | None = None
    end_line: int | None = None
    column: int | None = None


@dataclass(frozen=True, slots=True)
class Action:
    """A button on a check run. Pressing it sends an event with its `identifier`."""

    label: str
    description: str
    identifier: str


@dataclass(frozen=True, slots=True)
class CheckOutput:
    """The output of a check run: a title and Markdown, annotations, and buttons.

    Args:
        title: one line.
        summary: Markdown, shown first; `text`, below it, may be long.
        annotations: all of the check run's annotations, in order.
        actions: the buttons that replace the current ones, at most three.
    """

    title: str
    summary: str
    text: str | None = None
    annotations: tuple[Annotation, ...] = ()
    actions: tuple[Action, ...] = ()


@dataclass(frozen=True, slots=True)
class CheckRunDraft:
    """A check run to be created. Times are seconds since the epoch."""

    name: str
    head_sha: str
    external_id: str
    details_url: str
    status: str
    output: CheckOutput
    conclusion: str | None = None
    started_at: float | None = None
    completed_at: float | None = None


@dataclass(frozen=True, slots=True)
class CheckRunRecord:
    """A check run on GitHub; `app_id` is the App that created it."""

    id: int
    name: str
    head_sha: str
    external_id: str
    status: str
    conclusion: str | None
    details_url: str = ""
    html_url: str = ""
    app_id: int | None = None
    annotations: int = 0


@dataclass(frozen=True, slots=True)
class Entry:
    """One name in a folder. `type` is ``file``, ``dir``, ``symlink`` or ``submodule``."""

    name: str
    type: str
    size: int
