"""The values that the store returns.

Times are floats, in seconds since the epoch (UTC). Each value is an immutable snapshot of committed data.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

from bassloop.lifecycle import RUN_FINAL, CheckState, DeliveryState, RunState

if TYPE_CHECKING:
    from collections.abc import Mapping

T = TypeVar("T")


def new_run_id() -> str:
    """Return a new id for a run: 128 random bits as 22 URL-safe characters, which nobody can guess."""
    return secrets.token_urlsafe(16)


@dataclass(frozen=True, slots=True)
class Delivery:
    """A webhook delivery, without its payload, which may be large: `Deliveries.body` returns that.

    Args:
        attempts: how many times handling it has begun, not counting postponed attempts.
        failures: how many of the attempts failed with an error that the delivery caused.
        postponed: how many times in a row it was postponed.
        not_before: the time of the next attempt.
        installation_id: the App installation that it came from.
        node: the id of the node that handles it.
        evaluations: how many evaluations of its hooks have begun and not ended. It is 1 during an evaluation,
            and higher if the loop has crashed during earlier ones.
    """

    guid: str
    event: str
    action: str | None
    received_at: float
    state: DeliveryState
    attempts: int
    error: str | None
    repository: str | None
    head_sha: str | None
    sender: str | None
    order_key: str | None
    failures: int = 0
    postponed: int = 0
    not_before: float | None = None
    installation_id: int | None = None
    evaluations: int = 0
    node: str = field(default="", compare=False)


class Replacement(NamedTuple):
    """The replacement of a head by another one, on a branch or a pull request (as in `Head.branch_or_pull`)."""

    repository_id: int
    head_sha: str
    branch_or_pull: str
    by_sha: str


@dataclass(frozen=True, slots=True)
class User:
    """A user of GitHub. The id never changes; the login may, and may pass to somebody else."""

    id: int
    node_id: str
    login: str


@dataclass(frozen=True, slots=True)
class RepositoryRecord:
    """A repository as last seen. The id never changes; the name may, and may pass to another one."""

    id: int
    full_name: str
    installation_id: int
    public: bool


@dataclass(frozen=True, slots=True)
class SessionRecord:
    """The session of a user who signed in, with their current login."""

    user_id: int
    login: str
    expires_at: float


@dataclass(frozen=True, slots=True)
class ThunkRecord:
    """A thunk that was run. Its `digest` is its name in URLs; its `sha256` (hex) identifies it."""

    digest: str
    sha256: str
    json: str
    proto: bytes
    cmdline: str
    created_at: float


@dataclass(frozen=True, slots=True)
class Run:
    """One run of a thunk for a check.

    Args:
        thunk_digest: empty if there is no thunk, for example because the hook failed first.
        public: whether everybody may see it.
        node: the id of the node that executes and concludes it.
    """

    id: str
    thunk_digest: str
    user_id: int
    login: str
    repository_id: int
    repository: str
    public: bool
    event: str
    delivery: str
    head_sha: str
    head_branch: str | None
    pull_request: int | None
    check_name: str
    state: RunState
    created_at: float
    started_at: float | None
    ended_at: float | None
    message: str | None
    runtime_id: str | None
    runner_login: str | None
    platform: str | None
    cmdline: str
    runner_kind: str | None = None
    node: str = field(default="", compare=False)

    @property
    def ended(self) -> bool:
        return self.state in RUN_FINAL


@dataclass(frozen=True, slots=True)
class StatementRecord:
    """A runner's signed statement about a run, as received.

    Args:
        payload: the statement.
        signature: the SSH signature, in its binary form.
        login: the owner of the runner.
        fingerprint: the fingerprint of the key that the runner connected with.
        listed: whether GitHub listed that key for the login when the statement arrived. False if GitHub
            didn't answer, although the runner had connected with the key.
        listed_since: when the key was added to the account, if known.
        problem: why the statement was rejected, or None if it is valid.
    """

    run_id: str
    payload: bytes
    signature: bytes
    login: str
    fingerprint: str
    received_at: float
    listed: bool
    listed_since: float | None
    problem: str | None


@dataclass(frozen=True, slots=True)
class StepUpdate:
    """A runner's report about a step. It replaces the values of earlier reports.

    A time of None, and empty `inputs`, keep the earlier values, since runners may repeat a step incompletely.
    """

    digest: str
    name: str
    started_at: float | None = None
    completed_at: float | None = None
    cached: bool = False
    error: str | None = None
    cancelled: bool = False
    internal: bool = False
    inputs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Step:
    """A step of a run.

    Args:
        row: identifies the step and its log within the run.
        position: its index among the run's steps, in the order of their first report.
        raw_bytes: the size of its log on disk.
        lines: the settled lines of its log.
        version: the run's version at the step's last change.
        log_cut: the log is incomplete, because the loop stopped while it was being written.
    """

    row: int
    run_id: str
    digest: str
    name: str
    started_at: float | None
    completed_at: float | None
    cached: bool
    error: str | None
    cancelled: bool
    internal: bool
    inputs: tuple[str, ...]
    position: int
    raw_bytes: int
    lines: int
    version: int
    log_cut: bool = False


def text_size(step: StepUpdate | Step) -> int:
    """Return the total length of those texts of a step that its runner chooses, in characters."""
    text = len(step.digest) + len(step.name) + len(step.error or "")
    return text + sum(map(len, step.inputs))


@dataclass(frozen=True, slots=True)
class CheckRun:
    """The stored record of a check run: what GitHub shows for a run, or will show once it has created it.

    Args:
        generation: 1 for the first check run of a name on a head; each rerun has the next one.
        github_id: None until GitHub has created it.
        tries: how many times GitHub didn't accept its conclusion.
        try_after: the time of the next attempt.
    """

    row: int
    repository_id: int
    repository: str
    installation_id: int
    head_sha: str
    name: str
    generation: int
    run_id: str
    github_id: int | None
    state: CheckState
    conclusion: str | None
    delivery: str
    tries: int = 0
    try_after: float | None = None


@dataclass(frozen=True, slots=True)
class Approval:
    """The approval of a head, by an authorized user."""

    user_id: int
    login: str
    at: float


@dataclass(frozen=True, slots=True)
class Superseded:
    """The head that superseded another one, and when."""

    by_sha: str
    at: float


@dataclass(frozen=True, slots=True)
class RuntimeRecord:
    """A runtime that a connected runner offers.

    Args:
        session: the SSH session that it belongs to.
        kind: the kind of the runner.
        node: the id of the node that it's connected to; empty if there is only one daemon.
    """

    id: str
    user_id: int
    login: str
    os: str
    arch: str
    priority: int
    connected_at: float
    address: str
    session: str
    kind: str = "other"
    node: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Some items, and the cursor for the next page, or None after the last."""

    items: tuple[T, ...]
    next: str | None


@dataclass(frozen=True, slots=True)
class LogPiece:
    """Bytes of a log as they were received, and when."""

    at: float
    data: bytes


@dataclass(frozen=True, slots=True)
class LogExtent:
    """The size of a log.

    Args:
        raw_bytes: the bytes as received.
        lines: the settled lines.
        closed: False while it is being written.
        cut: the rest is lost, because the loop stopped while it was being written.
    """

    raw_bytes: int
    lines: int
    closed: bool
    cut: bool


@dataclass(frozen=True, slots=True)
class LineTime:
    """Lines from `line` to the next `LineTime` were completed at time `at`, on `stream`."""

    line: int
    at: float
    stream: int


@dataclass(frozen=True, slots=True)
class LineGap:
    """A pause of `seconds` in a log's output, before `line` was continued or begun."""

    line: int
    seconds: float


@dataclass(frozen=True, slots=True)
class LogText:
    """`lines` settled lines from number `line` on, each ended by a newline."""

    line: int
    lines: int
    text: bytes


@dataclass(frozen=True, slots=True)
class RecentSpending:
    """The points that all nodes together have recently spent with a credential.

    Args:
        points: includes what is reserved, so it may be slightly too high.
        purposes: the points that were spent on each purpose.
        closed_until: when GitHub accepts the credential's calls again, in seconds since the epoch.
    """

    points: int
    purposes: Mapping[str, int]
    closed_until: float


@dataclass(frozen=True, slots=True)
class SpendingRecord:
    """The points of GitHub's rate limit that were spent with a credential.

    Args:
        spent: pairs of a time, in seconds since the epoch, and points.
        reserved: the points that may have been spent after that.
        closed_until: when GitHub accepts the credential's calls again, in seconds since the epoch.
    """

    spent: tuple[tuple[int, int], ...]
    reserved: int
    closed_until: float


@dataclass(frozen=True, slots=True)
class LoginRecord:
    """GitHub's answer about a login.

    Args:
        user_id: 0 if nobody has the login.
        keys: lines of an authorized_keys file.
        asked_at: when GitHub was asked, in seconds since the epoch.
    """

    user_id: int
    node_id: str
    login: str
    keys: tuple[str, ...]
    asked_at: float


@dataclass(frozen=True, slots=True)
class RepositoryBacklog:
    """The unfinished deliveries of a repository.

    Args:
        repository: its full name; None for deliveries without one.
        waiting: how many haven't begun.
        handled: how many are being handled.
        oldest_at: when the oldest one was received.
    """

    repository: str | None
    waiting: int
    handled: int
    oldest_at: float


@dataclass(frozen=True, slots=True)
class Figures:
    """How much work is waiting, and how much space is used.

    Args:
        deliveries: the number of unfinished deliveries in each state.
        runs: the number of unfinished runs in each state.
        oldest_waiting_at: when the oldest delivery that hasn't begun was received.
        database_bytes: the size of the database.
        free_bytes: the free space on the disk of the logs.
    """

    deliveries: dict[str, int]
    runs: dict[str, int]
    oldest_waiting_at: float | None
    database_bytes: int
    free_bytes: int


@dataclass(frozen=True, slots=True)
class ReportedTest:
    """A test's outcome in a run, from a test report.

    Args:
        outcome: ``passed``, ``failed`` or ``skipped``.
        seconds: its duration, if the report has it.
        message: why it failed.
        path: the file that contains it, or in which it failed, as given in the report.
    """

    name: str
    outcome: str
    seconds: float | None = None
    message: str | None = None
    path: str | None = None
    line: int | None = None


@dataclass(frozen=True, slots=True)
class RepeatedError:
    """An error that made runs of a repository fail.

    Args:
        count: the number of these runs.
        branches: the branches of these runs, or their pull requests, such as ``#7``.
    """

    text: str
    count: int
    first_run: str
    last_run: str
    branches: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ErrorSearch:
    """The errors that were found in a repository's newest runs.

    Args:
        runs: how many runs were searched.
        next: the cursor for older runs, or None if there are none.
    """

    errors: tuple[RepeatedError, ...]
    runs: int
    next: str | None
