"""What the pages are made from."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Protocol

import trio

from bassloop.web.auth.web_sessions import Sessions
from bassloop.web.logs.html_cache import RenderedLogs

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence
    from contextlib import AbstractAsyncContextManager

    from bassloop.checks.outputs import Outputs
    from bassloop.github import OAuth
    from bassloop.store import Store
    from bassloop.web.auth.web_sessions import Visitor


class Answer(Protocol):
    """What the sender of a webhook is told."""

    @property
    def status(self) -> int:
        """HTTP's."""

    @property
    def message(self) -> str:
        """A sentence."""


class Inbox(Protocol):
    """Takes deliveries."""

    async def accept(self, headers: Mapping[str, str], body: bytes) -> Answer:
        """Verify, store, answer."""

    async def replay(self, guid: str) -> bool:
        """Handle one anew that failed or was set aside; False for any other."""


class Following(Protocol):
    """A follower's place."""

    @property
    def version(self) -> int:
        """The change that was seen last: it grows as long as somebody follows."""

    async def changed(self) -> None:
        """Return when there is something new."""


class Tail(Protocol):
    """The live end of runs."""

    def follow(self, run_id: str | None) -> AbstractAsyncContextManager[Following]:
        """Follow a run, or with None all of them."""

    def live(self, vertex_row: int) -> bool:
        """Whether the vertex's log is being written."""

    def screen(self, vertex_row: int) -> list[bytes]:
        """The lines of a live log that may still change."""


class Runner(Protocol):
    """A runner that is connected."""

    @property
    def id(self) -> str: ...
    @property
    def login(self) -> str: ...
    @property
    def platform(self) -> object: ...
    @property
    def priority(self) -> int: ...
    @property
    def connected_at(self) -> float: ...
    @property
    def kind(self) -> str: ...
    @property
    def runs(self) -> Sequence[str]:
        """The ids of the runs that it has, or what else it is asked for."""

    @property
    def caveats(self) -> Sequence[str]:
        """What runners of its kind can't do."""


class Finding(Protocol):
    """A part of the loop, and whether it is ready; why not, for everybody to read."""

    @property
    def part(self) -> str: ...
    @property
    def ready(self) -> bool: ...
    @property
    def why(self) -> str: ...


@dataclass(frozen=True, eq=False)
class Health:
    """How the loop is.

    Args:
        ready: how each part is.
        metrics: from HTTP's Accept to metrics and their content type.
        metrics_token: what shows who asks for metrics; None where nobody may, or all who reach it.
    """

    ready: Callable[[], Awaitable[Sequence[Finding]]]
    metrics: Callable[[str], Awaitable[tuple[bytes, str]]]
    metrics_token: str | None = None


class Permissions(Protocol):
    """What GitHub lets people do."""

    async def level(self, person: Visitor, repository_id: int) -> str:
        """``none``, ``read``, ``write`` or ``admin``; what can't be found out is none."""

    async def readable(self, person: Visitor) -> frozenset[int]:
        """The private repositories that they may read."""

    def forget(self, *, user_id: int | None = None, repository_id: int | None = None) -> None:
        """Forget what was found out, for it may be different now."""


class Control(Protocol):
    """What people may ask for of runs. Both raise `dispatch.NotAllowed` and `dispatch.CantSay`."""

    async def cancel(self, run_id: str, by: Visitor) -> bool:
        """Cancel a run; whether there was something to cancel."""

    async def approve(self, run_id: str, by: Visitor) -> None:
        """Let the run's head, a fork's, be evaluated and run, on the approver's runners too."""


@dataclass(frozen=True, eq=False)
class WebContext:
    """The application's collaborators.

    Args:
        external_url: where people reach it, without a slash at its end.
        known_hosts: the gateway's line for a file of known hosts.
        host_key: the fingerprint of its key.
        ssh_command: what a person types to connect a runner.
        pool_snapshot: who is connected.
        outputs: what hands on files that thunks made.
        slow_seconds: how long a live page may leave a message unread before it is cut loose.
    """

    store: Store
    inbox: Inbox
    tail: Tail
    external_url: str
    version: str
    known_hosts: str
    host_key: str
    ssh_command: str
    pool_snapshot: Callable[[], Sequence[Runner]]
    health: Health
    permissions: Permissions
    control: Control
    session_secret: bytes = field(repr=False)
    oauth: OAuth | None = None
    operators: frozenset[str] = frozenset()
    outputs: Outputs | None = None
    slow_seconds: float = 30.0

    @cached_property
    def rendered(self) -> RenderedLogs:
        """The HTML of logs, shared by all who look at them."""
        return RenderedLogs(self.store)

    @cached_property
    def scanning(self) -> trio.CapacityLimiter:
        """The threads that go through whole logs, for all who ask for that."""
        return trio.CapacityLimiter(2)

    @cached_property
    def sessions(self) -> Sessions:
        """The sessions of those who signed in."""
        return Sessions(self.store, self.session_secret, self.external_url.startswith("https://"))
