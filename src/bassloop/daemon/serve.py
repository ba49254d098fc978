"""The daemon: one root nursery, and who lives in it.

    serve (SIGTERM = drain, a second one = end at once, SIGHUP = take the certificate anew)
    ├─ heart       is on time; while it is, the watchdog is fed
    ├─ gateway     where runners dial in; a session a connection
    ├─ inbox       deliveries, their hooks and checks
    ├─ web         pages, webhook, live tail; metrics, where they have a listener of their own
    ├─ recovery    what GitHub was not told yet
    ├─ missed      deliveries that never arrived
    ├─ privacy     whether what everybody sees is public still
    ├─ outputs     files from runners to visitors
    └─ janitor     runs that have had their time

A crash in one session, delivery or check stays there. A crash of gateway, inbox or web ends the
daemon loudly: whoever started it starts it again, and the inbox resumes.
"""

from __future__ import annotations

import gc
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import structlog
import trio

from bassloop import __version__
from bassloop.checks.actions import Control
from bassloop.checks.check_output import connect_command
from bassloop.checks.handler import handle_delivery
from bassloop.checks.loop import Loop
from bassloop.checks.outputs import Outputs
from bassloop.checks.recovery import end_set_aside, interrupt_lost_runs, keep_concluding
from bassloop.checks.tail import Tail
from bassloop.daemon import collaborators
from bassloop.daemon.certificates import Certificate
from bassloop.daemon.http_server import serve_http
from bassloop.daemon.listeners import StartError, drop_slow, host_of, listen, shown
from bassloop.daemon.metrics import Metrics
from bassloop.daemon.proxies import Proxies
from bassloop.daemon.readiness import Readiness
from bassloop.daemon.session_secret import session_secret
from bassloop.daemon.signals import signals, until_drained
from bassloop.deliveries.inbox import Inbox
from bassloop.deliveries.redelivery import keep_fetching
from bassloop.gateway import GatewayAddress, serve_gateway
from bassloop.github import GitHub, open_github
from bassloop.runtimes import Pool
from bassloop.store import Store, open_store
from bassloop.store.upkeep.pruner import keep_pruning
from bassloop.telemetry.heartbeat import Heart
from bassloop.telemetry.service_manager import Notifier
from bassloop.web import Health, WebContext, create_app, create_metrics_app

if TYPE_CHECKING:
    import socket

    from bassloop.settings import Settings

log = structlog.get_logger(__name__)

WEB_SECONDS = 5.0
"""How long pages and live tails have to end after the last check."""


@dataclass(frozen=True, eq=False)
class Serving:
    """A daemon that is ready.

    Args:
        url: where its pages are.
        local_url: the same, as this machine reaches it.
        ssh: where runners dial in.
        metrics_url: where its metrics are, where they have a listener of their own.
    """

    url: str
    local_url: str
    ssh: GatewayAddress
    store: Store
    inbox: Inbox
    tail: Tail
    pool: Pool
    loop: Loop
    metrics_url: str | None = None


@dataclass(frozen=True, eq=False)
class _Opened:
    """What was opened before anything was started, so that what is wrong with it is told at once."""

    pages: socket.socket
    metrics: socket.socket | None
    certificate: Certificate | None
    store: Store
    github: GitHub
    notifier: Notifier


async def serve(
    settings: Settings,
    *,
    stop: trio.Event | None = None,
    task_status: trio.TaskStatus[Serving] = trio.TASK_STATUS_IGNORED,
) -> int:
    """Run the daemon until it is told to stop. Returns its exit status. Needs an open bridge.

    Args:
        stop: set it to drain; None listens for SIGTERM and SIGINT instead.

    Raises SettingsError, StartError, StoreError or HostKeyError when it can't start.
    """
    async with AsyncExitStack() as stack:
        stack.enter_context(collaborators.traces(settings))
        certificate = None
        if settings.tls_cert_path and settings.tls_key_path:
            certificate = Certificate(settings.tls_cert_path, settings.tls_key_path)
        pages = stack.enter_context(listen(settings.listen, "LISTEN"))
        drop_slow(pages, settings.page_slow_seconds)
        metrics = None
        if settings.metrics_listen:
            metrics = stack.enter_context(listen(settings.metrics_listen, "METRICS_LISTEN"))
        store = await stack.enter_async_context(
            open_store(
                settings.database,
                settings.blobs,
                log_limit=settings.log_limit,
                log_waiting=settings.log_waiting,
            )
        )
        github = await stack.enter_async_context(open_github(collaborators.github_config(settings)))
        collaborators.check_key(github)
        opened = _Opened(pages, metrics, certificate, store, github, Notifier.of())
        await _serve(settings, opened, stop, task_status)
    return 0


def _leave_alone_what_stays() -> None:
    """Let the garbage collector pass over what there is now: it is the code, and stays as long as we do.

    Going through all of it holds everything up for a tenth of a second, now and then.
    """
    gc.collect()
    gc.freeze()


async def _serve(
    settings: Settings,
    opened: _Opened,
    stop: trio.Event | None,
    task_status: trio.TaskStatus[Serving],
) -> None:
    store, github, notifier = opened.store, opened.github, opened.notifier
    tail, pool, heart = Tail(), Pool(), Heart()
    local_url = f"{'https' if opened.certificate else 'http'}://{shown(opened.pages)}"
    url = settings.external_url or local_url
    stopping = trio.Event() if stop is None else stop
    async with trio.open_nursery() as root:
        ssh = await _start_gateway(root, settings, host_of(url), github, pool, store)
        loop = Loop(
            store=store,
            tail=tail,
            pool=pool,
            github=github,
            external_url=url,
            app_id=settings.github_app_id,
            connect=lambda login: connect_command(login, host_of(url), ssh.port),
            limits=collaborators.limits(settings),
            policies=collaborators.policies(settings),
        )
        inbox = Inbox(
            store,
            partial(handle_delivery, loop),
            settings.webhook_secret(),
            at_once=settings.deliveries_at_once,
            attempts=settings.delivery_attempts,
            aside=partial(end_set_aside, loop),
        )
        readiness = Readiness(store, inbox, github)
        health = Health(
            ready=readiness.findings,
            metrics=Metrics(loop, inbox, heart).scrape,
            metrics_token=settings.secret("metrics_token"),
        )
        app = create_app(
            WebContext(
                store=store,
                inbox=inbox,
                tail=tail,
                external_url=url,
                version=__version__,
                known_hosts=ssh.known_hosts_line,
                host_key=ssh.fingerprint,
                slow_seconds=settings.page_slow_seconds,
                ssh_command=loop.connect("YOUR-LOGIN"),
                pool_snapshot=pool.snapshot,
                health=health,
                permissions=loop.permissions,
                control=Control(loop, inbox),
                session_secret=session_secret(settings),
                oauth=github.oauth,
                operators=settings.operator_names,
                outputs=Outputs(store, pool, root, settings.output_limit),
            )
        )
        await interrupt_lost_runs(loop)
        root.start_soon(keep_concluding, loop)
        root.start_soon(keep_pruning, store, collaborators.retention(settings))
        if github.app is not None:
            root.start_soon(keep_fetching, github, inbox)
            root.start_soon(loop.visibility.keep_refreshing)
        async with trio.open_nursery() as web:
            over, metrics_url = trio.Event(), None
            if opened.metrics is not None:
                metrics_url = f"http://{shown(opened.metrics)}/metrics"
                await web.start(serve_http, create_metrics_app(health), opened.metrics, over)
            behind = Proxies(app, settings.trusted_proxies)
            await web.start(serve_http, behind, opened.pages, over, opened.certificate)
            for what in collaborators.what_is_off(settings):
                log.warning(what)
            if stop is None:
                _leave_alone_what_stays()
            log.info("ready", url=url, ssh=f"{ssh.host}:{ssh.port}", host_key=ssh.known_hosts_line)
            async with signals(
                stopping if stop is None else None,
                root.cancel_scope,
                partial(_reload, opened.certificate, notifier),
            ):
                root.start_soon(heart.beat, partial(_tell, notifier, pool, inbox))
                root.start_soon(readiness.findings)  # what is not ready from the start, it says
                task_status.started(
                    Serving(url, local_url, ssh, store, inbox, tail, pool, loop, metrics_url)
                )
                await until_drained(inbox, stopping, settings.drain_seconds, notifier)
            over.set()
            web.cancel_scope.deadline = trio.current_time() + WEB_SECONDS
        root.cancel_scope.cancel()
    log.info("stopped")


async def _start_gateway(
    root: trio.Nursery, settings: Settings, name: str, github: GitHub, pool: Pool, store: Store
) -> GatewayAddress:
    wanted = collaborators.gateway_settings(settings, name)
    try:
        address: GatewayAddress = await root.start(serve_gateway, wanted, github.keys, pool, store)
    except OSError as error:
        raise StartError(
            f"SSH_ADDR: can't listen on {settings.ssh_addr}: {error.strerror}"
        ) from error
    return address


def _reload(certificate: Certificate | None, notifier: Notifier) -> None:
    """Take the certificate anew; what can't be used leaves the old one."""
    notifier.reloading()
    try:
        if certificate is not None:
            certificate.reload()
        log.info("reloaded", certificate=certificate is not None)
    except StartError as error:
        log.error("not reloaded", why=str(error))
    notifier.ready()


def _tell(notifier: Notifier, pool: Pool, inbox: Inbox) -> None:
    """What the service manager hears at each beat of the heart."""
    notifier.feed()
    work, runners = inbox.statistics(), pool.statistics()
    notifier.status(
        f"{runners['runtimes']} runtimes, {runners['calls']} calls; "
        f"{work['handling']} deliveries handled, {work['waiting']} waiting"
    )
