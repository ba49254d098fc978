"""The daemon: one root nursery, and who lives in it.

    serve (SIGTERM = drain, a second one = end at once)
    ├─ gateway     where runners dial in; a session a connection
    ├─ inbox       deliveries, their hooks and checks
    ├─ web         pages, webhook, live tail
    ├─ recovery    what GitHub was not told yet
    ├─ missed      deliveries that never arrived
    └─ janitor     runs that have had their time

A crash in one session, delivery or check stays there. A crash of gateway, inbox or web ends the
daemon loudly: whoever started it starts it again, and the inbox resumes.
"""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import hypercorn.trio
import structlog
import trio

from bassloop import __version__
from bassloop.dispatch import Inbox, Loop, Tail, handle_delivery
from bassloop.dispatch.janitor import keep_pruning
from bassloop.dispatch.missed import keep_fetching
from bassloop.dispatch.recover import end_set_aside, interrupt_lost_runs, keep_concluding
from bassloop.dispatch.report import connect_command
from bassloop.gateway import GatewayAddress, serve_gateway
from bassloop.github import GitHub, open_github
from bassloop.runtimes import Pool
from bassloop.serve import parts
from bassloop.serve.http import http_config
from bassloop.serve.listening import host_of, listen, shown
from bassloop.serve.signals import signals, until_drained
from bassloop.store import Store, open_store
from bassloop.web import WebContext, create_app

if TYPE_CHECKING:
    import socket

    from bassloop.config import Settings

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
    """

    url: str
    local_url: str
    ssh: GatewayAddress
    store: Store
    inbox: Inbox
    tail: Tail
    pool: Pool
    loop: Loop


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
    listening = listen(settings.listen, "LISTEN")
    async with AsyncExitStack() as stack:
        stack.enter_context(listening)
        store = await stack.enter_async_context(
            open_store(settings.database, settings.blobs, log_limit=settings.log_limit)
        )
        github = await stack.enter_async_context(open_github(parts.github_config(settings)))
        await _serve(settings, listening, store, github, stop, task_status)
    return 0


async def _serve(
    settings: Settings,
    listening: socket.socket,
    store: Store,
    github: GitHub,
    stop: trio.Event | None,
    task_status: trio.TaskStatus[Serving],
) -> None:
    tail, pool = Tail(), Pool()
    scheme = "https" if settings.tls_cert_path else "http"
    local_url = f"{scheme}://{shown(listening)}"
    url = settings.external_url or local_url
    stopping = trio.Event() if stop is None else stop
    async with trio.open_nursery() as root:
        ssh: GatewayAddress = await root.start(
            serve_gateway,
            parts.gateway_settings(settings, host_of(url)),
            github.keys,
            pool,
            store,
        )
        loop = Loop(
            store=store,
            tail=tail,
            pool=pool,
            github=github,
            external_url=url,
            app_id=settings.github_app_id,
            connect=lambda login: connect_command(login, host_of(url), ssh.port),
            limits=parts.limits(settings),
            policies=parts.policies(settings),
        )
        inbox = Inbox(
            store,
            partial(handle_delivery, loop),
            settings.webhook_secret(),
            at_once=settings.deliveries_at_once,
            attempts=settings.delivery_attempts,
            aside=partial(end_set_aside, loop),
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
            )
        )
        await interrupt_lost_runs(loop)
        root.start_soon(keep_concluding, loop)
        root.start_soon(keep_pruning, store, parts.retention(settings))
        if github.app is not None:
            root.start_soon(keep_fetching, loop, inbox)
        async with trio.open_nursery() as web:
            web_over = trio.Event()
            await web.start(
                partial(
                    hypercorn.trio.serve,
                    app,
                    http_config(settings, listening),
                    shutdown_trigger=web_over.wait,
                    mode="asgi",
                )
            )
            for what in parts.what_is_off(settings):
                log.warning(what)
            log.info("ready", url=url, ssh=f"{ssh.host}:{ssh.port}", host_key=ssh.known_hosts_line)
            async with signals(stopping if stop is None else None, root.cancel_scope):
                task_status.started(Serving(url, local_url, ssh, store, inbox, tail, pool, loop))
                await until_drained(inbox, stopping, settings.drain_seconds)
            web_over.set()
            web.cancel_scope.deadline = trio.current_time() + WEB_SECONDS
        root.cancel_scope.cancel()
    log.info("stopped")
