"""Creates the daemon's parts from the settings, and wires them to each other. Runs nothing."""

from __future__ import annotations

import hashlib
import secrets
import shutil
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from bassloop import __version__
from bassloop.access.policy import Policy, PolicyError, read_operator_rules
from bassloop.access.policy_lookup import PolicyCache
from bassloop.addresses import EVERY_ADDRESS, parse_address
from bassloop.bridge.grpc import ChannelLimits
from bassloop.checks.check_output import connect_command
from bassloop.checks.delivery_handler import handle_delivery
from bassloop.checks.file_collectors import ArtifactQuotas
from bassloop.checks.live_runs import LiveRuns
from bassloop.checks.loop_state import LoopState
from bassloop.checks.output_downloads import Outputs
from bassloop.checks.quotas import QuotaLimits, Quotas, SharedUsage
from bassloop.checks.recovery import end_set_aside
from bassloop.checks.source_links import SourceLinks
from bassloop.checks.user_actions import Control
from bassloop.daemon import StartError
from bassloop.daemon.http_server import local_address
from bassloop.daemon.metrics import Metrics
from bassloop.daemon.readiness import Readiness
from bassloop.deliveries.backlog import Backlog
from bassloop.deliveries.inbox import Inbox
from bassloop.evaluator.evaluators import Evaluators
from bassloop.evaluator.hook_process import EvaluatorLimits, evaluators_here
from bassloop.gateway import GatewayAddress, GatewaySettings, fingerprint, load_host_key
from bassloop.github import GitHubConfig, OAuthConfig, Unauthorized
from bassloop.github.app_registration import web_url
from bassloop.private_files import ExposedFileError, read_private_file, write_private_file
from bassloop.settings import MIN_SECRET, SettingsError
from bassloop.store import Bounds, Retention, Topic, new_node
from bassloop.telemetry.watchdog import Heart
from bassloop.web import Health, WebContext
from bassloop.web.websocket_limits import WebsocketLimits

if TYPE_CHECKING:
    import socket
    from contextlib import AbstractContextManager
    from pathlib import Path

    from bassloop.daemon.http_server import Certificate
    from bassloop.daemon.stalled_requests import SlowReaders
    from bassloop.github import GitHub
    from bassloop.runtimes import Pool
    from bassloop.settings import Settings
    from bassloop.store import Node, Store
    from bassloop.telemetry.watchdog import Notifier

SESSION_KEY_FILE = "session_secret"
"""The file in the data directory with the key that signs sessions."""


@dataclass(frozen=True, eq=False)
class Resources:
    """The resources that are opened before anything starts, so that invalid settings are reported at once."""

    pages: socket.socket
    metrics: socket.socket | None
    certificate: Certificate | None
    store: Store
    github: GitHub
    notifier: Notifier
    slow_readers: SlowReaders


def node(settings: Settings, pages: socket.socket, certificate: Certificate | None) -> Node:
    """Return this daemon as one of several that may share a database."""
    scheme = "https" if certificate else "http"
    address = settings.node_address or f"{scheme}://{local_address(pages)}"
    return new_node(settings.node_name or "", address, __version__)


def identity(settings: Settings) -> str:
    """Return a digest of the secrets and the bucket, which all nodes of a loop must have in common.

    Raises HostKeyError or SettingsError if they can't be read.
    """
    key = load_host_key(settings.host_key_path, content=settings.secret("ssh_host_key"))
    digest = hashlib.sha256()
    for part in (
        fingerprint(key).encode(),
        session_secret(settings),
        settings.webhook_secret() or b"",
        (settings.blobs_url or "").encode(),
    ):
        digest.update(hashlib.sha256(part).digest())
    return digest.hexdigest()


def session_secret(settings: Settings) -> bytes:
    """Return SESSION_SECRET, or the content of the file in the data directory.

    A missing file is created, which signs everybody out, but does no other harm. Nodes that share the folder use the
    same one. Raises SettingsError if the file can't be used.
    """
    if settings.session_secret is not None:
        return settings.session_secret.get_secret_value().encode()
    path = settings.data_dir / SESSION_KEY_FILE
    try:
        if not path.exists():
            _make_secret(path)
        secret = read_private_file(path).strip()
    except OSError as error:
        raise SettingsError(f"SESSION_SECRET: can't read {path}: {error.strerror}") from error
    except ExposedFileError as error:
        raise SettingsError(
            f"SESSION_SECRET: {error}; remove it to have another one made"
        ) from error
    if len(secret) < MIN_SECRET:
        raise SettingsError(
            f"SESSION_SECRET: {path} is too short; remove it to have another one made"
        )
    return secret


def _make_secret(path: Path) -> None:
    """Write a new secret, unless another node has just done so. Raises SettingsError."""
    try:
        write_private_file(path, secrets.token_hex(32).encode(), replace=False)
    except FileExistsError:
        return
    except OSError as error:
        raise SettingsError(f"SESSION_SECRET: can't write {path}: {error.strerror}") from error


class Addresses:
    """The daemon's addresses.

    Attributes:
        local: the URL of its pages on this machine.
        external: the public URL of its pages.
        host: the host name in the public URL.
        metrics: the URL of its metrics, if they have a listener of their own.
    """

    def __init__(self, settings: Settings, resources: Resources) -> None:
        scheme = "https" if resources.certificate else "http"
        self.local = f"{scheme}://{local_address(resources.pages)}"
        self.external = settings.external_url or self.local
        self.host = urlsplit(self.external).hostname or "localhost"
        self.metrics = None
        if resources.metrics is not None:
            self.metrics = f"http://{local_address(resources.metrics)}/metrics"


@dataclass(frozen=True, eq=False)
class Parts:
    """The daemon's parts. `health` and `pages` are what the web servers need."""

    ssh: GatewayAddress
    pool: Pool
    live_runs: LiveRuns
    heart: Heart
    loop: LoopState
    inbox: Inbox
    outputs: Outputs
    readiness: Readiness
    health: Health
    pages: WebContext


def wire(
    settings: Settings,
    resources: Resources,
    addresses: Addresses,
    pool: Pool,
    ssh: GatewayAddress,
) -> Parts:
    """Make the parts. Raises SettingsError.

    Args:
        pool: the runtimes that the gateway registers.
    """
    store, github = resources.store, resources.github
    live_runs, heart = LiveRuns(), Heart()
    loop = LoopState(
        store=store,
        live_runs=live_runs,
        pool=pool,
        github=github,
        evaluators=Evaluators(evaluator_limits(settings)),
        external_url=addresses.external,
        app_id=settings.github_app_id,
        connect=lambda login: connect_command(login, addresses.host, ssh.port),
        github_url=settings.github_url or web_url(settings.github_api_url),
        policies=policies(settings),
        artifact_quotas=artifact_quotas(settings),
        quotas=Quotas(
            quota_limits(settings),
            lambda: shutil.disk_usage(settings.blobs).free,
            SharedUsage(store) if store.nodes.own_id else None,
        ),
    )
    inbox = Inbox(
        store,
        partial(handle_delivery, loop),
        settings.webhook_secret(),
        at_once=settings.deliveries_at_once,
        attempts=settings.delivery_attempts,
        on_set_aside=partial(end_set_aside, loop),
        may_begin=github.api.may_start,
    )
    github.api.on_start_possible = inbox.recheck
    github.api.on_recovered = inbox.retry_now
    heart.on_pause = inbox.fetch_soon.set
    github.api.may_write = store.may_write
    github.keys.on_lookup = pool.note_lookup
    store.notifications.subscribe(Topic.PERMISSIONS, loop.permissions.apply_notification)
    store.notifications.subscribe(Topic.RUNS, live_runs.apply_notification)
    store.notifications.subscribe(Topic.POLICIES, loop.policies.apply_notification)
    backlog = Backlog(store, github.api, inbox.pace)
    outputs = Outputs(store, pool, settings.output_limit)
    readiness = Readiness(store, inbox, github, loop.evaluators)
    websockets = WebsocketLimits(settings.websockets, settings.websockets_per_visitor)
    metrics = Metrics(loop, inbox, heart, backlog, websockets, resources.slow_readers)
    health = Health(
        ready=readiness.findings,
        metrics=metrics.scrape,
        metrics_token=settings.secret("metrics_token"),
    )
    pages = WebContext(
        store=store,
        inbox=inbox,
        live_runs=live_runs,
        external_url=addresses.external,
        version=__version__,
        known_hosts=ssh.known_hosts_line,
        host_key=ssh.fingerprint,
        slow_seconds=settings.page_slow_seconds,
        ssh_command=loop.connect("YOUR-LOGIN"),
        pool_snapshot=pool.snapshot,
        health=health,
        permissions=loop.permissions,
        control=Control(loop, inbox),
        backlog=backlog.report,
        websockets=websockets,
        session_secret=session_secret(settings),
        oauth=github.oauth,
        operators=settings.operator_names,
        outputs=outputs,
        source_links=SourceLinks(store, github, loop.github_url),
    )
    return Parts(ssh, pool, live_runs, heart, loop, inbox, outputs, readiness, health, pages)


# --- the settings of each part ---


def github_config(settings: Settings) -> GitHubConfig:
    """Return the GitHub client's configuration. Raises SettingsError if the App's key can't be read."""
    return GitHubConfig(
        api_url=settings.github_api_url,
        app_id=settings.github_app_id,
        private_key=settings.private_key(),
        oauth=_oauth(settings),
        known_seconds=settings.known_keys_seconds,
    )


def _oauth(settings: Settings) -> OAuthConfig | None:
    """Return the configuration for signing in, or None if people can't."""
    secret = settings.secret("github_app_client_secret")
    if not settings.github_app_client_id or secret is None:
        return None
    return OAuthConfig(
        web_url=settings.github_url or web_url(settings.github_api_url),
        api_url=settings.github_api_url,
        client_id=settings.github_app_client_id,
        client_secret=secret,
    )


def check_key(github: GitHub) -> None:
    """Raise StartError if the App's private key can't sign, before the first delivery needs it."""
    if github.app is not None:
        try:
            github.app.make_jwt()
        except Unauthorized as error:
            raise StartError(str(error)) from error


def traces(settings: Settings) -> AbstractContextManager[None]:
    """Return a context in which traces are exported, if a collector is set.

    Raises StartError if OpenTelemetry is not installed.
    """
    if settings.otel_exporter_otlp_endpoint is None:
        return nullcontext()
    try:
        from bassloop.telemetry.exporter import collector, tracing_to
    except ImportError as error:
        raise StartError(
            "OTEL_EXPORTER_OTLP_ENDPOINT is set, but OpenTelemetry is not installed: "
            "pipx install '.[otel]'"
        ) from error
    return tracing_to(collector(settings.otel_exporter_otlp_endpoint))


def gateway_settings(settings: Settings, name: str) -> GatewaySettings:
    """Return the SSH gateway's settings, on a host called `name`. Raises HostKeyError without a host key."""
    host, port = parse_address(settings.ssh_addr)
    key = load_host_key(settings.host_key_path, content=settings.secret("ssh_host_key"))
    return GatewaySettings(
        host_key=key,
        host=host,
        port=port,
        name=name,
        proxies=settings.ssh_proxies,
        connections=settings.ssh_connections,
        connections_per_address=settings.ssh_connections_per_address,
        unauthenticated=settings.ssh_unauthenticated,
        unauthenticated_per_address=settings.ssh_unauthenticated_per_address,
        auth_seconds=settings.ssh_auth_seconds,
        refusals_per_minute=settings.ssh_refusals_per_minute,
        sessions_per_connection=settings.ssh_sessions_per_connection,
        forwards_per_connection=settings.ssh_forwards_per_connection,
        keepalive_seconds=settings.ssh_keepalive_seconds,
        keepalive_count=settings.ssh_keepalive_count,
        answer_within=settings.runner_answer_seconds,
        limits=ChannelLimits(
            message=settings.runner_message,
            window=settings.runner_window,
            answers=settings.runner_updates,
        ),
    )


def evaluator_limits(settings: Settings) -> EvaluatorLimits:
    """Return the limits of hooks."""
    return EvaluatorLimits(
        at_once=settings.evaluators or evaluators_here(),
        waiting=settings.hooks_waiting,
        cpu_seconds=settings.hook_cpu,
        seconds=settings.hook_seconds,
        memory=settings.hook_memory,
        output=settings.hook_output,
    )


def quota_limits(settings: Settings) -> QuotaLimits:
    """Return the quotas of runs, users and repositories."""
    return QuotaLimits(
        run_log=settings.run_log,
        run_steps=settings.run_steps,
        run_updates=settings.run_updates,
        user_log_a_day=settings.user_log_a_day,
        repository_log_a_day=settings.repository_log_a_day,
        user_runs=settings.user_runs,
        repository_runs=settings.repository_runs,
        free_space=settings.free_space,
    )


def artifact_quotas(settings: Settings) -> ArtifactQuotas:
    """Return the limits and the retention of artifacts."""
    return ArtifactQuotas(
        one=settings.artifact_limit,
        run=settings.run_artifacts,
        repository=settings.repository_artifacts,
        seconds=settings.artifact_seconds,
    )


def retention(settings: Settings) -> Retention:
    """Return the retention of runs."""
    return Retention(
        Bounds(settings.keep_seconds, settings.keep_bytes),
        {
            name: Bounds(bounds.seconds, bounds.bytes)
            for name, bounds in settings.keep_repositories.items()
        },
    )


def policies(settings: Settings) -> PolicyCache:
    """Return the policies of repositories. Raises SettingsError if the operator's file can't be used."""
    base = Policy(
        supersede=settings.supersede,
        runner_wait=settings.runner_wait,
        check_limit=settings.check_limit,
    )
    if settings.policy_path is None:
        return PolicyCache(base)
    try:
        return PolicyCache(base, read_operator_rules(settings.policy() or "", "POLICY_PATH"))
    except PolicyError as error:
        raise SettingsError(str(error)) from error


def disabled_features(settings: Settings) -> list[str]:
    """Return a sentence for each feature that is off, with the setting that turns it on."""
    features: dict[str, dict[str, object]] = {
        "checks are off": {
            "GITHUB_APP_ID": settings.github_app_id,
            "GITHUB_APP_PRIVATE_KEY": settings.private_key(),
        },
        "deliveries are refused": {"GITHUB_APP_WEBHOOK_SECRET": settings.webhook_secret()},
        "nobody can sign in, so nobody sees private runs": {
            "GITHUB_APP_CLIENT_ID": settings.github_app_client_id,
            "GITHUB_APP_CLIENT_SECRET": settings.secret("github_app_client_secret"),
        },
        "links only work on this machine": {"EXTERNAL_URL": settings.external_url},
    }
    if settings.database_url and parse_address(settings.listen)[0] in EVERY_ADDRESS:
        features["other nodes can't show the logs that this one writes"] = {
            "NODE_ADDRESS": settings.node_address
        }
    sentences = []
    for feature, needed in features.items():
        missing = [name for name, value in needed.items() if not value]
        if missing:
            verb = "is" if len(missing) == 1 else "are"
            sentences.append(f"{feature}: {' and '.join(missing)} {verb} not set")
    return sentences
