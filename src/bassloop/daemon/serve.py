"""The daemon: its resources, its root nursery, and the tasks in it.

    serve (SIGTERM drains, a second one ends it at once, SIGHUP reloads the certificate)
    ├─ gateway     where runners connect: a task for each connection and each session
    ├─ outputs     files from runners to visitors
    ├─ evaluators  a program that forks a process for each hook
    ├─ recovery    concludes check runs that GitHub hasn't been told about yet
    ├─ nodes       takes over from lost nodes of the same database, and handles requests of others
    ├─ pruner      removes runs that are older than they are kept
    ├─ tidier      removes what lost nodes have left on this machine's disk
    ├─ indexer     makes complete logs fast to search
    ├─ redelivery  fetches deliveries that never arrived
    ├─ visibility  checks again whether public repositories still are
    ├─ web         pages, the webhook and live tails; metrics, where they have a listener of their own
    ├─ heart       measures how late tasks are, and feeds the watchdog
    └─ inbox       deliveries, with their hooks and checks

A crash in one session, delivery or check affects no other. A crash of any other task ends the daemon with a
traceback; the service manager restarts it, and the inbox resumes.
"""

from __future__ import annotations

import json
import os
import signal
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import structlog
import trio

from bassloop.checks.log_indexing import keep_indexing
from bassloop.checks.recovery import interrupt_lost_runs, keep_concluding
from bassloop.daemon import StartError, wiring
from bassloop.daemon.http_server import Certificate, Proxies, bind, serve_http, start_listening
from bassloop.daemon.node_tasks import (
    hand_over,
    keep_approving,
    keep_handling_requests,
    keep_sharing_limits,
    keep_taking_over,
)
from bassloop.daemon.peer_proxy import PeerProxy, PeerSigner
from bassloop.daemon.request_limits import RequestQueue, WebhookBodies
from bassloop.daemon.stalled_requests import SlowReaders
from bassloop.daemon.wiring import Addresses, Parts, Resources
from bassloop.deliveries.redelivery import keep_fetching
from bassloop.gateway import GatewayAddress, serve_gateway
from bassloop.github import open_github
from bassloop.private_files import write_private_file
from bassloop.runtimes import Pool
from bassloop.store import find_blobs, open_store, reads_fail_fast
from bassloop.store.maintenance.pruning_tasks import keep_pruning, keep_tidying
from bassloop.telemetry.watchdog import Notifier
from bassloop.web import create_app, create_metrics_app

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterator

    from bassloop.checks.live_runs import LiveRuns
    from bassloop.checks.loop_state import LoopState
    from bassloop.deliveries.inbox import Inbox
    from bassloop.settings import Settings
    from bassloop.store import Store
    from bassloop.web import WebContext

log = structlog.get_logger(__name__)

WEB_SECONDS = 5.0
"""How long pages and live tails may take to end after the last check, in seconds."""


@dataclass(frozen=True, eq=False)
class Daemon:
    """A daemon that is ready.

    Args:
        url: the public URL of its pages.
        local_url: the URL of its pages on this machine.
        metrics_url: the URL of its metrics, if they have a listener of their own.
        ssh: the address to which runners connect.
    """

    url: str
    local_url: str
    metrics_url: str | None
    ssh: GatewayAddress
    store: Store
    inbox: Inbox
    live_runs: LiveRuns
    pool: Pool
    loop: LoopState


async def serve(
    settings: Settings,
    *,
    stop: trio.Event | None = None,
    task_status: trio.TaskStatus[Daemon] = trio.TASK_STATUS_IGNORED,
) -> int:
    """Run the daemon until it is asked to stop, and return its exit status. Needs an open bridge.

    Args:
        stop: set it to drain; None waits for SIGTERM or SIGINT instead.

    Raises SettingsError, StartError, StoreError or HostKeyError, alone or in a group, if it can't start.
    """
    await _serve(settings, stop, task_status)
    log.info("stopped")
    return 0


async def _serve(
    settings: Settings, stop: trio.Event | None, task_status: trio.TaskStatus[Daemon]
) -> None:
    async with _open_resources(settings) as resources, trio.open_nursery() as root:
        addresses, pool = Addresses(settings, resources), Pool()
        ssh = await _start_gateway(root, settings, resources, addresses, pool)
        parts = wiring.wire(settings, resources, addresses, pool, ssh)
        await root.start(parts.outputs.run)
        await interrupt_lost_runs(parts.loop)
        root.start_soon(keep_concluding, parts.loop)
        root.start_soon(keep_taking_over, parts.loop, parts.inbox)
        root.start_soon(keep_pruning, resources.store, wiring.retention(settings))
        root.start_soon(keep_tidying, resources.store)
        root.start_soon(keep_indexing, resources.store)
        root.start_soon(parts.loop.quotas.keep_counting)
        if resources.github.app is not None:
            await root.start(parts.loop.evaluators.run)
            root.start_soon(keep_sharing_limits, resources.store.cluster, resources.github.api)
            root.start_soon(keep_fetching, resources.github, parts.inbox)
            root.start_soon(parts.loop.visibility.keep_refreshing)
        daemon = Daemon(
            url=addresses.external,
            local_url=addresses.local,
            metrics_url=addresses.metrics,
            ssh=ssh,
            store=resources.store,
            inbox=parts.inbox,
            live_runs=parts.live_runs,
            pool=pool,
            loop=parts.loop,
        )
        ready = partial(task_status.started, daemon)
        with _published_address(settings, addresses):
            await _serve_web(root, settings, resources, parts, stop, ready)
        root.cancel_scope.cancel()


@asynccontextmanager
async def _open_resources(settings: Settings) -> AsyncGenerator[Resources]:
    """Open sockets, store and GitHub client. Raises SettingsError, StartError or StoreError."""
    async with AsyncExitStack() as stack:
        stack.enter_context(wiring.traces(settings))
        certificate = None
        if settings.tls_cert_path and settings.tls_key_path:
            certificate = Certificate(settings.tls_cert_path, settings.tls_key_path)
        notifier = Notifier.of()
        pages = stack.enter_context(bind(settings.listen, "LISTEN"))
        slow_readers = SlowReaders(settings.page_slow_seconds)
        slow_readers.limit(pages)
        metrics = None
        if settings.metrics_listen:
            metrics = stack.enter_context(bind(settings.metrics_listen, "METRICS_LISTEN"))
        blobs = await trio.to_thread.run_sync(partial(find_blobs, settings, patient=True))
        store = await stack.enter_async_context(
            open_store(
                settings.database,
                blobs,
                pool=settings.secret("database_pool_url"),
                node=wiring.node(settings, pages, certificate),
                identity=wiring.identity(settings),
                locks=settings.node_locks,
                on_wait=partial(_report_wait, notifier),
                bucket_waiting=settings.blobs_waiting,
                log_limit=settings.log_limit,
                log_waiting=settings.log_waiting,
            )
        )
        start_listening(pages, "LISTEN")
        if metrics is not None:
            start_listening(metrics, "METRICS_LISTEN")
        github = await stack.enter_async_context(
            open_github(
                wiring.github_config(settings),
                key_store=store.logins,
                spending_store=store.api_spending,
            )
        )
        wiring.check_key(github)
        yield Resources(pages, metrics, certificate, store, github, notifier, slow_readers)


def _report_wait(notifier: Notifier, why: str) -> None:
    """Report that the daemon waits for its database."""
    log.warning("waiting for the database", why=why)
    notifier.ready()
    notifier.feed()
    notifier.status(f"waits for its database: {why}")


async def _drain_when_asked(store: Store, stopping: trio.Event) -> None:
    await store.drain_requested.wait()
    log.info("asked to drain")
    stopping.set()


@contextmanager
def _published_address(settings: Settings, addresses: Addresses) -> Iterator[None]:
    """Keep a file with the daemon's address, where commands on this machine look for it."""
    path = settings.address_file
    content = {"pid": os.getpid(), "local_url": addresses.local, "url": addresses.external}
    try:
        write_private_file(path, json.dumps(content).encode())
    except OSError as error:
        log.warning("address not written", path=str(path), why=error.strerror)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


async def _start_gateway(
    root: trio.Nursery,
    settings: Settings,
    resources: Resources,
    addresses: Addresses,
    pool: Pool,
) -> GatewayAddress:
    wanted = wiring.gateway_settings(settings, addresses.host)
    keys, store = resources.github.keys, resources.store
    try:
        ssh: GatewayAddress = await root.start(serve_gateway, wanted, keys, pool, store.runtimes)
    except OSError as error:
        raise StartError(
            f"SSH_ADDR: can't listen on {settings.ssh_addr}: {error.strerror}"
        ) from error
    return ssh


async def _serve_web(
    root: trio.Nursery,
    settings: Settings,
    resources: Resources,
    parts: Parts,
    stop: trio.Event | None,
    ready: Callable[[], None],
) -> None:
    """Serve pages and metrics until deliveries are drained, and then for at most WEB_SECONDS."""
    web_stop = trio.Event()
    async with _application(settings, parts.pages) as pages, trio.open_nursery() as web:
        if resources.metrics is not None:
            metrics = create_metrics_app(parts.health)
            await web.start(serve_http, metrics, resources.metrics, web_stop)
        await web.start(
            serve_http,
            pages,
            resources.pages,
            web_stop,
            resources.certificate,
            resources.slow_readers,
        )
        for sentence in wiring.disabled_features(settings):
            log.warning(sentence)
        reload = partial(_reload, resources.certificate, resources.notifier)
        async with handle_signals(stop, root.cancel_scope, reload) as stopping:
            log.info(
                "ready",
                url=parts.pages.external_url,
                ssh=f"{parts.ssh.host}:{parts.ssh.port}",
                host_key=parts.ssh.known_hosts_line,
            )
            root.start_soon(_drain_when_asked, resources.store, stopping)
            root.start_soon(hand_over, resources.store, parts.pool, stopping)
            await root.start(keep_approving, parts.loop)
            await root.start(keep_handling_requests, parts.loop, parts.inbox)
            report = partial(_report, resources.notifier, parts)
            report()  # Before `READY=1`, so that whoever waited for the start finds the state already there.
            root.start_soon(parts.heart.beat, report)
            root.start_soon(parts.readiness.follow_start)
            ready()
            await run_until_drained(
                parts.inbox, parts.loop, stopping, settings.drain_seconds, resources.notifier
            )
        web_stop.set()
        web.cancel_scope.deadline = trio.current_time() + WEB_SECONDS


@asynccontextmanager
async def _application(settings: Settings, context: WebContext) -> AsyncGenerator[Proxies]:
    """Open the web application. If there may be other nodes, it forwards requests for what they record."""
    app = WebhookBodies(RequestQueue(create_app(context)))
    if settings.database_url is None:
        yield Proxies(app, settings.trusted_proxies)
        return

    async def serve_at_once(scope: dict[str, Any], receive: Any, send: Any) -> None:
        with reads_fail_fast():
            await proxy(scope, receive, send)

    host = urlsplit(context.external_url).hostname or ""
    signer = PeerSigner(context.session_secret)
    async with PeerProxy(app, context.store.nodes, signer, host).opened() as proxy:
        yield Proxies(serve_at_once, settings.trusted_proxies)


def _reload(certificate: Certificate | None, notifier: Notifier) -> None:
    """Reload the certificate, or keep the old one if the new one can't be used."""
    notifier.reloading()
    try:
        if certificate is not None:
            certificate.reload()
        log.info("reloaded", certificate=certificate is not None)
    except StartError as error:
        log.error("not reloaded", why=str(error))
    notifier.ready()


def _report(notifier: Notifier, parts: Parts) -> None:
    """Feed the service manager's watchdog, and report the daemon's state."""
    notifier.feed()
    deliveries, runners = parts.inbox.statistics(), parts.pool.statistics()
    notifier.status(
        f"{runners['runtimes']} runtimes, {runners['calls']} calls; "
        f"{deliveries['handling']} deliveries being handled, {deliveries['waiting']} waiting"
    )


SETTLE_SECONDS = 2.0
"""How long deliveries may take to report their last checks to GitHub, in seconds. The next process reports the rest."""

ENDING_SECONDS = 30.0
"""How long the daemon may take to end once nothing runs any more, in seconds, as reported to the service manager."""


async def run_until_drained(
    inbox: Inbox, loop: LoopState, stopping: trio.Event, seconds: float, notifier: Notifier
) -> None:
    """Handle deliveries until `stopping` is set, then give running checks `seconds` to end.

    Checks that wait for a runner or for GitHub are left to the next process.
    """
    async with trio.open_nursery() as deliveries:
        await deliveries.start(inbox.run)
        notifier.ready()
        await stopping.wait()
        notifier.stopping(seconds + ENDING_SECONDS)
        log.info("draining", **inbox.statistics(), seconds=seconds)
        inbox.drain()
        ends_at = trio.current_time() + seconds
        deliveries.cancel_scope.deadline = ends_at
        await loop.drain()
        deliveries.cancel_scope.deadline = min(ends_at, trio.current_time() + SETTLE_SECONDS)


@asynccontextmanager
async def handle_signals(
    stop: trio.Event | None, everything: trio.CancelScope, reload: Callable[[], None]
) -> AsyncGenerator[trio.Event]:
    """Yield the event that the first SIGTERM or SIGINT sets.

    A second one cancels `everything`, and SIGHUP calls `reload`. If `stop` is given, signals aren't handled, and
    `stop` itself is yielded.
    """
    if stop is not None:
        yield stop
        return
    stopping = trio.Event()

    async def listen(task_status: trio.TaskStatus[None]) -> None:
        handled = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
        with trio.open_signal_receiver(*handled) as received:
            task_status.started()
            async for number in received:
                if number == signal.SIGHUP:
                    reload()
                    continue
                if stopping.is_set():
                    log.warning("ending at once", signal=signal.Signals(number).name)
                    everything.cancel()
                stopping.set()

    async with trio.open_nursery() as nursery:
        await nursery.start(listen)
        yield stopping
        nursery.cancel_scope.cancel()
