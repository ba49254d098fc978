"""The web application's collaborators: the store, the inbox, permissions, and the rest of the loop."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import trio

from bassloop.checks.run_failure import LogFailureCache, log_failure_cache
from bassloop.web.logs.line_html import MIN_THREAD_SIZE, LogHtmlCache, link_files
from bassloop.web.web_sessions import WebSessions

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Sequence

    from bassloop.access.permissions import Permissions
    from bassloop.checks.live_runs import LiveRuns
    from bassloop.checks.output_downloads import Outputs
    from bassloop.checks.source_links import SourceLinks
    from bassloop.checks.user_actions import Control
    from bassloop.deliveries.backlog import BacklogReport
    from bassloop.deliveries.inbox import Inbox
    from bassloop.github import OAuth
    from bassloop.runtimes import RuntimeStatus
    from bassloop.store import Run, Store
    from bassloop.web.websocket_limits import WebsocketLimits


@dataclass(frozen=True, slots=True)
class PartStatus:
    """The status of a part of the loop. Everybody can read `why`, so it must not contain paths or names."""

    part: str
    ready: bool
    why: str = ""


@dataclass(frozen=True, eq=False)
class Health:
    """The loop's health and metrics.

    Args:
        ready: returns the status of all parts, or of the named ones.
        metrics: takes the Accept header, and returns the metrics and their content type.
        metrics_token: the bearer token that `/metrics` requires. Without one, `/metrics` is disabled on the public
            listener, and needs no authentication on the separate one.
    """

    ready: Callable[[Collection[str] | None], Awaitable[Sequence[PartStatus]]]
    metrics: Callable[[str], Awaitable[tuple[bytes, str]]]
    metrics_token: str | None = None


@dataclass(frozen=True, eq=False)
class WebContext:
    """The application's collaborators and settings.

    Args:
        external_url: the loop's public URL, without a trailing slash.
        known_hosts: the gateway's line for a known_hosts file.
        host_key: the fingerprint of the gateway's host key.
        ssh_command: the command that connects a runner.
        pool_snapshot: returns the runtimes that are currently connected.
        backlog: returns the backlog, for operators.
        websockets: counts and limits open websockets.
        session_secret: signs cookies, tokens and forms.
        oauth: GitHub's OAuth client; None if nobody can sign in.
        operators: ids and lower-case logins of the operators.
        outputs: streams files from runners; None if downloads are disabled.
        source_links: links to source lines on GitHub; None to omit them.
        slow_seconds: how long a page may leave a websocket message unread before it is disconnected.
    """

    store: Store
    inbox: Inbox
    live_runs: LiveRuns
    external_url: str
    version: str
    known_hosts: str
    host_key: str
    ssh_command: str
    pool_snapshot: Callable[[], Sequence[RuntimeStatus]]
    health: Health
    permissions: Permissions
    control: Control
    backlog: Callable[[], Awaitable[BacklogReport]]
    websockets: WebsocketLimits
    session_secret: bytes = field(repr=False)
    oauth: OAuth | None = None
    operators: frozenset[str] = frozenset()
    outputs: Outputs | None = None
    source_links: SourceLinks | None = None
    slow_seconds: float = 30.0

    @cached_property
    def log_html(self) -> LogHtmlCache:
        """The HTML of log lines, shared by all visitors."""
        return LogHtmlCache(self.store)

    async def log_lines(self, run: Run, row: int, start: int, stop: int) -> list[str]:
        """Return the HTML of lines of a step's log, with links to source files once the commit's files are known.

        See `LogHtmlCache.lines`.
        """
        lines = await self.log_html.lines(run.id, row, start, stop)
        files = self.source_links.known_files(run) if self.source_links is not None else None
        if files is None:
            return lines
        if sum(map(len, lines)) < MIN_THREAD_SIZE:
            return link_files(lines, files.url)
        return await trio.to_thread.run_sync(link_files, lines, files.url)

    @cached_property
    def log_failures(self) -> LogFailureCache:
        """A cache of the failures that were found in logs."""
        return log_failure_cache()

    @cached_property
    def scan_limiter(self) -> trio.CapacityLimiter:
        """Limits the threads that scan whole logs, for searches and outlines."""
        return trio.CapacityLimiter(2)

    @cached_property
    def sessions(self) -> WebSessions:
        """The sessions of signed-in visitors."""
        return WebSessions(
            self.store, self.session_secret, self.external_url.startswith("https://")
        )
