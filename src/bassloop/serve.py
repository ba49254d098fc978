"""The daemon: one root nursery, and who lives in it.

    serve (SIGTERM = drain, a second one = end at once)
    ├─ gateway     where runners dial in; a session a connection
    ├─ inbox       deliveries, their hooks and checks
    ├─ web         pages, webhook, live tail
    ├─ recovery    what GitHub was not told yet
    └─ missed      deliveries that never arrived

A crash in one session, delivery or check stays there. A crash of gateway, inbox or web ends the
daemon loudly: whoever started it starts it again, and the inbox resumes.
"""

from __future__ import annotations

import signal
import socket
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import hypercorn.trio
import structlog
import trio
from hypercorn.config import Config

from bassloop import __version__
from bassloop.config import Settings, parse_address
from bassloop.dispatch import Inbox, Limits, Loop, Tail, handle_delivery
from bassloop.dispatch.missed import keep_fetching
from bassloop.dispatch.policy import Policy
from bassloop.dispatch.recover import end_set_aside, interrupt_lost_runs, keep_concluding
from bassloop.dispatch.report import connect_command
from bassloop.gateway import GatewayAddress, GatewaySettings, load_host_key, serve_gateway
from bassloop.github import GitHub, GitHubConfig, open_github
from bassloop.runtimes import Pool
from bassloop.store import Store, open_store
from bassloop.web import WebContext, create_app

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

log = structlog.get_logger(__name__)

WEB_SECONDS = 5.0
"""How long pages and live tails have to end after the last check."""


class StartError(Exception):
    """The daemon can't start; the message names the thing and the mend."""


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
    listening = _listen(settings.listen)
    async with AsyncExitStack() as stack:
        stack.enter_context(listening)
        store = await stack.enter_async_context(
            open_store(settings.database, settings.blobs, log_limit=settings.log_limit)
        )
        github = await stack.enter_async_context(open_github(_github_config(settings)))
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
    local_url = f"{scheme}://{_shown(listening)}"
    url = settings.external_url or local_url
    stopping = trio.Event() if stop is None else stop
    async with trio.open_nursery() as root:
        host, port = parse_address(settings.ssh_addr)
        key = load_host_key(
            settings.host_key_path,
            content=settings.ssh_host_key.get_secret_value() if settings.ssh_host_key else None,
        )
        ssh: GatewayAddress = await root.start(
            serve_gateway,
            GatewaySettings(host=host, port=port, host_key=key, name=_host_of(url)),
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
            connect=lambda login: connect_command(login, _host_of(url), ssh.port),
            limits=_limits(settings),
            policy=Policy(supersede=settings.supersede),
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
                ssh_command=loop.connect("YOUR-LOGIN"),
                pool_snapshot=pool.snapshot,
            )
        )
        await interrupt_lost_runs(loop)
        root.start_soon(keep_concluding, loop)
        if github.app is not None:
            root.start_soon(keep_fetching, loop, inbox)
        async with trio.open_nursery() as web:
            web_over = trio.Event()
            await web.start(
                partial(
                    hypercorn.trio.serve,
                    app,
                    _hypercorn(settings, listening),
                    shutdown_trigger=web_over.wait,
                    mode="asgi",
                )
            )
            _say_ready(settings, url, ssh)
            async with _signals(stopping if stop is None else None, root.cancel_scope):
                task_status.started(Serving(url, local_url, ssh, store, inbox, tail, pool, loop))
                await _until_drained(inbox, stopping, settings.drain_seconds)
            web_over.set()
            web.cancel_scope.deadline = trio.current_time() + WEB_SECONDS
        root.cancel_scope.cancel()
    log.info("stopped")


async def _until_drained(inbox: Inbox, stopping: trio.Event, seconds: float) -> None:
    """Handle deliveries; when told to stop, give those at work `seconds` to end."""
    async with trio.open_nursery() as deliveries:
        await deliveries.start(inbox.run)
        await stopping.wait()
        log.info("draining", **inbox.statistics(), seconds=seconds)
        inbox.close()
        deliveries.cancel_scope.deadline = trio.current_time() + seconds


@asynccontextmanager
async def _signals(
    stopping: trio.Event | None, everything: trio.CancelScope
) -> AsyncGenerator[None]:
    """The first SIGTERM or SIGINT drains, the second ends everything; none are heard without `stopping`."""
    if stopping is None:
        yield
        return

    async def listen(task_status: trio.TaskStatus[None]) -> None:
        with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as received:
            task_status.started()
            async for number in received:
                if stopping.is_set():
                    log.warning("ending at once", signal=signal.Signals(number).name)
                    everything.cancel()
                stopping.set()

    async with trio.open_nursery() as nursery:
        await nursery.start(listen)
        yield
        nursery.cancel_scope.cancel()


def _listen(address: str) -> socket.socket:
    host, port = parse_address(address)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
    except OSError as error:
        listening.close()
        raise StartError(f"LISTEN: can't listen on {address}: {error.strerror}") from error
    listening.listen(128)
    listening.setblocking(False)
    return listening


def _shown(listening: socket.socket) -> str:
    host, port = listening.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, host)  # noqa: S104 - read, not bound
    return f"{host}:{port}"


def _host_of(url: str) -> str:
    return urlsplit(url).hostname or "localhost"


def _hypercorn(settings: Settings, listening: socket.socket) -> Config:
    config = Config()
    config.bind = [f"fd://{listening.detach()}"]  # it is hypercorn's to close now
    config.graceful_timeout = 3.0
    config.shutdown_timeout = 5.0
    config.include_server_header = False
    config.accesslog = None
    config.errorlog = None
    config.websocket_ping_interval = 20.0
    config.websocket_max_message_size = 64 * 1024  # pages say little
    config.certfile = str(settings.tls_cert_path) if settings.tls_cert_path else None
    config.keyfile = str(settings.tls_key_path) if settings.tls_key_path else None
    return config


def _github_config(settings: Settings) -> GitHubConfig:
    return GitHubConfig(
        api_url=settings.github_api_url,
        app_id=settings.github_app_id,
        private_key=settings.private_key(),
    )


def _limits(settings: Settings) -> Limits:
    return Limits(
        runner_wait=settings.runner_wait,
        check_seconds=settings.check_limit,
        hook_seconds=settings.hook_seconds,
        hook_steps=settings.hook_steps,
        hook_live=settings.hook_live,
        hook_output=settings.hook_output,
    )


def _say_ready(settings: Settings, url: str, ssh: GatewayAddress) -> None:
    off: dict[str, Any] = {
        "checks are off: GITHUB_APP_ID and GITHUB_APP_PRIVATE_KEY are not set": (
            settings.github_app_id is None or settings.private_key() is None
        ),
        "deliveries are refused: GITHUB_APP_WEBHOOK_SECRET is not set": (
            settings.webhook_secret() is None
        ),
        "links lead to this machine only: EXTERNAL_URL is not set": settings.external_url is None,
    }
    for what, is_off in off.items():
        if is_off:
            log.warning(what)
    log.info("ready", url=url, ssh=f"{ssh.host}:{ssh.port}", host_key=ssh.known_hosts_line)
