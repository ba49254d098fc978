"""What the store keeps, as frozen values.

Times are seconds since the epoch (UTC) as floats. Every value is a copy of what was committed when
it was read: nothing here changes by itself, and changing a copy changes nothing in the store.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import Generic, TypeVar

from bassloop.lifecycle import RUN_FINAL, CheckState, DeliveryState, RunState

T = TypeVar("T")


def new_run_id() -> str:
    """An id for a run: 22 URL-safe characters, 128 bits that nobody can guess."""
    return secrets.token_urlsafe(16)


@dataclass(frozen=True, slots=True)
class Delivery:
    """A webhook delivery as GitHub sent it. Lists leave `body` empty; `Store.delivery` has it.

    `attempts` counts how often it began to be handled, but not the times that were `postponed` since;
    `failures` those that ended with an error of its own. `not_before` is when it is tried again."""

    guid: str
    event: str
    action: str | None
    body: bytes
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


@dataclass(frozen=True, slots=True)
class User:
    """A GitHub user: the id is theirs for ever, the login may change hands."""

    id: int
    node_id: str
    login: str


@dataclass(frozen=True, slots=True)
class RepositoryRecord:
    """A repository as it was heard of last. The id is its for ever, the name may change hands."""

    id: int
    full_name: str
    installation_id: int
    public: bool


@dataclass(frozen=True, slots=True)
class Session:
    """That somebody signed in. The login is their latest."""

    user_id: int
    login: str
    expires_at: float


@dataclass(frozen=True, slots=True)
class ThunkRecord:
    """A thunk that was run. `digest` names it in URLs; `sha256` (hex) is what may be trusted."""

    digest: str
    sha256: str
    json: str
    proto: bytes
    cmdline: str
    created_at: float


@dataclass(frozen=True, slots=True)
class Run:
    """One run of a thunk for a check. `thunk_digest` is empty when there was no thunk to run (a
    hook that failed before it named one). `public` says whether anybody may see it; `runner_kind` what
    sort of runner took it."""

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

    @property
    def ended(self) -> bool:
        return self.state in RUN_FINAL


@dataclass(frozen=True, slots=True)
class StepUpdate:
    """What a runner said about a step. It replaces what was known, except that a `None` time and
    empty `inputs` leave the earlier ones in place (runners repeat a step in part)."""

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
    """A step of a run. `row` names its log; `position` is its place by first sight, from 0;
    `version` is the run's version at its last change. `raw_bytes` and `lines` are the extent of its
    log (for a live one, of what is written); `log_cut` says that the log ends early because the
    loop stopped while it was being written."""

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


@dataclass(frozen=True, slots=True)
class CheckRun:
    """A check run on GitHub, or the intention of one (`github_id` is None until it is bound).

    `tries` counts how often GitHub did not take its conclusion, and `try_after` is when it is told
    again."""

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
    """That somebody who may said yes to a head, and when that was heard of."""

    user_id: int
    login: str
    at: float


@dataclass(frozen=True, slots=True)
class Superseded:
    """That a head gave way to another one, and when that was heard of."""

    by_sha: str
    at: float


@dataclass(frozen=True, slots=True)
class RuntimeRecord:
    """A runtime that a connected runner offers. `session` is the SSH session that it lives with, and
    `kind` what sort of runner it is."""

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


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Some items, and the cursor that asks for those after them (None: there are no more)."""

    items: tuple[T, ...]
    next: str | None


@dataclass(frozen=True, slots=True)
class LogExtent:
    """How long a log is: bytes as received, and settled lines. `closed` is False while it grows;
    `cut` when the loop stopped while it was being written and the rest is lost."""

    raw_bytes: int
    lines: int
    closed: bool
    cut: bool


@dataclass(frozen=True, slots=True)
class LineTime:
    """From line `line` on, until the next `LineTime`, lines were completed at `at` on `stream`."""

    line: int
    at: float
    stream: int


@dataclass(frozen=True, slots=True)
class LineGap:
    """Nothing came for `seconds` before the piece that went on with line `line`."""

    line: int
    seconds: float


@dataclass(frozen=True, slots=True)
class LogText:
    """Whole settled lines, each ended by a newline: the first of them is number `line`."""

    line: int
    lines: int
    text: bytes


@dataclass(frozen=True, slots=True)
class Figures:
    """How much is in the store, and how much of it waits.

    `deliveries` and `runs` are those that have not ended, by state; `oldest_waiting_at` is when the
    first delivery came that nobody has begun to handle. Sizes are in bytes.
    """

    deliveries: dict[str, int]
    runs: dict[str, int]
    oldest_waiting_at: float | None
    database_bytes: int
    free_bytes: int
