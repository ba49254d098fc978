"""What the settings say, in the words of each part."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING

from bassloop.access.policy import Policy, PolicyError, read_operator_rules
from bassloop.access.policy_cache import Policies
from bassloop.bridge.h2 import Limits as RunnerLimits
from bassloop.checks.loop import Limits
from bassloop.daemon.listeners import StartError
from bassloop.gateway import GatewaySettings, load_host_key
from bassloop.github import GitHubConfig, OAuthConfig, Unauthorized
from bassloop.github.manifest import web_url
from bassloop.settings import SettingsError, parse_address
from bassloop.store import Bounds, Retention

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from bassloop.github import GitHub
    from bassloop.settings import Settings


def github_config(settings: Settings) -> GitHubConfig:
    """Who the loop is at GitHub. Raises SettingsError when the App's key can't be read."""
    return GitHubConfig(
        api_url=settings.github_api_url,
        app_id=settings.github_app_id,
        private_key=settings.private_key(),
        oauth=_oauth(settings),
    )


def _oauth(settings: Settings) -> OAuthConfig | None:
    """With what people sign in; None where they can't."""
    secret = settings.github_app_client_secret
    if not settings.github_app_client_id or secret is None or not secret.get_secret_value():
        return None
    return OAuthConfig(
        web_url=settings.github_url or web_url(settings.github_api_url),
        api_url=settings.github_api_url,
        client_id=settings.github_app_client_id,
        client_secret=secret.get_secret_value(),
    )


def check_key(github: GitHub) -> None:
    """See that the App's key is one, before the first delivery needs it. Raises StartError."""
    if github.app is not None:
        try:
            github.app.statement()
        except Unauthorized as error:
            raise StartError(str(error)) from error


def traces(settings: Settings) -> AbstractContextManager[None]:
    """Traces, where a collector is set. Raises StartError when what they need is not installed."""
    if settings.otel_exporter_otlp_endpoint is None:
        return nullcontext()
    try:
        from bassloop.telemetry.exporter import collector, tracing_to
    except ImportError as error:
        raise StartError(
            "OTEL_EXPORTER_OTLP_ENDPOINT is set, but OpenTelemetry is not installed: "
            "pipx install 'bassloop[otel]'"
        ) from error
    return tracing_to(collector(settings.otel_exporter_otlp_endpoint))


def gateway_settings(settings: Settings, name: str) -> GatewaySettings:
    """Where runners dial in, at a host called `name`. Raises HostKeyError when there is no key to be had."""
    host, port = parse_address(settings.ssh_addr)
    key = load_host_key(
        settings.host_key_path,
        content=settings.ssh_host_key.get_secret_value() if settings.ssh_host_key else None,
    )
    return GatewaySettings(
        host_key=key,
        host=host,
        port=port,
        name=name,
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
        limits=RunnerLimits(
            message=settings.runner_message,
            window=settings.runner_window,
            answers=settings.runner_updates,
        ),
    )


def limits(settings: Settings) -> Limits:
    """What a delivery may cost."""
    return Limits(
        hook_seconds=settings.hook_seconds,
        hook_steps=settings.hook_steps,
        hook_live=settings.hook_live,
        hook_output=settings.hook_output,
    )


def retention(settings: Settings) -> Retention:
    """How long runs are kept."""
    return Retention(
        Bounds(settings.keep_seconds, settings.keep_bytes),
        {
            name: Bounds(bounds.seconds, bounds.bytes)
            for name, bounds in settings.keep_repositories.items()
        },
    )


def policies(settings: Settings) -> Policies:
    """What holds for repositories. Raises SettingsError when the operator's file can't be used."""
    base = Policy(
        supersede=settings.supersede,
        runner_wait=settings.runner_wait,
        check_limit=settings.check_limit,
    )
    if settings.policy_path is None:
        return Policies(base)
    try:
        return Policies(base, read_operator_rules(settings.policy() or "", "POLICY_PATH"))
    except PolicyError as error:
        raise SettingsError(str(error)) from error


def what_is_off(settings: Settings) -> list[str]:
    """What the daemon does without, a line each with the setting that would turn it on."""
    off = {
        "checks are off: GITHUB_APP_ID and GITHUB_APP_PRIVATE_KEY are not set": (
            settings.github_app_id is None or settings.private_key() is None
        ),
        "deliveries are refused: GITHUB_APP_WEBHOOK_SECRET is not set": (
            settings.webhook_secret() is None
        ),
        "nobody can sign in, so private runs are seen by nobody: GITHUB_APP_CLIENT_ID and "
        "GITHUB_APP_CLIENT_SECRET are not set": _oauth(settings) is None,
        "links lead to this machine only: EXTERNAL_URL is not set": settings.external_url is None,
    }
    return [what for what, is_off in off.items() if is_off]
