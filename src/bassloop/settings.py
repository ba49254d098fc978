"""Settings: from the environment, or a file of `NAME=value` lines, under the names of the original.

Secrets may also be systemd's credentials: files of the settings' names in `CREDENTIALS_DIRECTORY`.

Every setting has a default that lets the daemon start; what is off for want of one, it says at start.
"""

from __future__ import annotations

import os
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated, Any, Self
from urllib.parse import urlsplit

import platformdirs
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
    SecretStr,
    ValidationError,
    model_validator,
)
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

APP = "bass-loop"


class SettingsError(Exception):
    """Settings that can't be used. The message names each one and says how it should look."""


def default_data_dir() -> Path:
    """Where the database and the blobs are kept unless told otherwise."""
    return Path(platformdirs.user_data_dir(APP))


def settings_file() -> Path:
    """The file that is read beside the environment (which wins)."""
    return Path(platformdirs.user_config_dir(APP)) / "settings.env"


def settings_path() -> Path:
    """The file that is read: the one that `BASSLOOP_SETTINGS` names, else the one in its usual place."""
    return Path(os.environ.get("BASSLOOP_SETTINGS", settings_file()))


def _base_url(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise ValueError("must be an address like https://loop.example.com")
    return value.rstrip("/")


def parse_address(value: str) -> tuple[str, int]:
    """``host:port``, ``:port`` (every interface) or ``[v6]:port``.

    Raises ValueError with what is expected when the text is neither.
    """
    host, colon, port = value.rpartition(":")
    if not colon or not port.isdigit() or int(port) > 65535:
        raise ValueError("must be HOST:PORT, such as 127.0.0.1:3000 or :6455")
    return host.strip("[]") or "0.0.0.0", int(port)  # noqa: S104 - what :port means


def reached(host: str, port: int) -> str:
    """``HOST:PORT`` of an address that is listened on, as this machine reaches it and URLs have it."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - read, not bound
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _address(value: str) -> str:
    parse_address(value)
    return value


def _networks(value: object) -> object:
    """Addresses and networks, separated by commas or blanks."""
    if not isinstance(value, str):
        return value
    try:
        return tuple(ip_network(part) for part in value.replace(",", " ").split())
    except ValueError as error:
        raise ValueError(f"{error}; it takes addresses and networks, such as 10.0.0.0/8") from error


BaseURL = Annotated[str, AfterValidator(_base_url)]
Address = Annotated[str, AfterValidator(_address)]
Network = IPv4Network | IPv6Network
Networks = Annotated[tuple[Network, ...], NoDecode, BeforeValidator(_networks)]


class Keep(BaseModel):
    """How long a repository's runs are kept, and how many bytes of its logs; None: as all others."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    seconds: PositiveFloat | None = None
    bytes: PositiveInt | None = None


class Settings(BaseSettings):
    """What `bassloop serve` can be told. Times are in seconds, sizes in bytes."""

    model_config = SettingsConfigDict(env_file_encoding="utf-8", extra="ignore", frozen=True)

    external_url: BaseURL | None = Field(
        None,
        description="The address at which people reach this loop; links on checks begin with it.",
    )
    listen: Address = Field("127.0.0.1:3000", description="Where the pages and the webhook listen.")
    tls_cert_path: Path | None = Field(None, description="Serve HTTPS with this certificate chain.")
    tls_key_path: Path | None = Field(None, description="The key of TLS_CERT_PATH.")

    trusted_proxies: Networks = Field(
        default_factory=tuple,
        description="Addresses and networks of the proxies whose X-Forwarded-For and "
        "X-Forwarded-Proto count, such as `127.0.0.1 10.0.0.0/8`.",
    )

    ssh_addr: Address = Field("0.0.0.0:6455", description="Where runners dial in.")
    ssh_host_key: SecretStr | None = Field(None, description="The SSH host key itself (PEM).")
    ssh_host_key_path: Path | None = Field(
        None, description="The SSH host key's file; made at the first start when it is missing."
    )

    ssh_connections: PositiveInt = Field(2_000, description="SSH connections at the same time.")
    ssh_connections_per_address: PositiveInt = Field(
        100, description="SSH connections of one IPv4 address, or of one /64 of IPv6."
    )
    ssh_unauthenticated: PositiveInt = Field(
        50, description="SSH connections at the same time that have shown no right key yet."
    )
    ssh_unauthenticated_per_address: PositiveInt = Field(
        10, description="Such connections of one address, so that it can't keep the others out."
    )
    ssh_auth_seconds: PositiveFloat = Field(
        20.0, description="How long an SSH connection may take to show a right key."
    )
    ssh_refusals_per_minute: PositiveInt = Field(
        20, description="SSH connections that end without a right key before their address waits."
    )
    ssh_sessions_per_connection: PositiveInt = Field(
        16, description="Sessions that one SSH connection may have open, one for each runtime."
    )
    ssh_forwards_per_connection: PositiveInt = Field(
        16, description="Sockets that one SSH connection may forward."
    )
    ssh_keepalive_seconds: PositiveFloat = Field(
        25.0, description="How often a silent runner is asked whether it is there."
    )
    ssh_keepalive_count: PositiveInt = Field(
        2, description="How many such questions in a row a runner may leave unanswered."
    )
    runner_answer_seconds: PositiveFloat = Field(
        30.0, description="How long a runner may take to open a channel for a call."
    )
    runner_message: PositiveInt = Field(
        4 << 20, description="How large one message of a runner may be."
    )
    runner_window: PositiveInt = Field(
        1 << 20, description="How much of a run's progress a runner may send ahead of the store."
    )
    runner_updates: PositiveInt = Field(
        16,
        description="How many messages of a run may wait for the store before its runner has to.",
    )
    page_slow_seconds: PositiveFloat = Field(
        30.0, description="How long a reader may leave unread what is sent before it is cut loose."
    )

    sqlite_path: Path | None = Field(
        None, description="The database. Default: loop.db in the data directory."
    )
    blobs_bucket: str | None = Field(
        None, description="The folder for logs. Default: blobs in the data directory."
    )
    data_dir: Path = Field(
        default_factory=default_data_dir, description="Where data is kept by default."
    )

    github_app_id: int | None = Field(None, description="The GitHub App's id.")
    github_app_slug: str | None = Field(
        None, description="The App's name in addresses, such as github.com/apps/SLUG."
    )
    github_app_client_id: str | None = Field(
        None, description="The App's client id, with which people sign in."
    )
    github_app_client_secret: SecretStr | None = Field(None, description="The App's client secret.")
    github_app_private_key: SecretStr | None = Field(
        None, description="The App's private key (PEM)."
    )
    github_app_private_key_path: Path | None = Field(
        None, description="The file of the App's private key."
    )
    github_app_webhook_secret: SecretStr | None = Field(
        None, description="The App's webhook secret."
    )
    github_api_url: BaseURL = Field(
        "https://api.github.com", description="GitHub's API, or an Enterprise Server's."
    )
    github_url: BaseURL | None = Field(
        None, description="GitHub's web pages. Default: those that belong to GITHUB_API_URL."
    )
    operators: str | None = Field(
        None,
        description="GitHub ids or logins (ids never change hands), separated by commas: people who see "
        "runners and deliveries.",
    )
    session_secret: SecretStr | None = Field(
        None,
        description="With what sessions are signed. Default: the file session_secret in the data "
        "directory, made at the first start.",
    )

    policy_path: Path | None = Field(
        None, description="The operator's policies for repositories, in TOML (see github.md)."
    )
    runner_wait: NonNegativeFloat = Field(
        600.0, description="How long a check waits for its sender's runner."
    )
    supersede: bool = Field(
        True, description="Whether a push cancels what still runs for the head that it replaces."
    )
    check_limit: PositiveFloat = Field(4 * 3600.0, description="How long a check may run.")
    hook_seconds: PositiveFloat = Field(
        300.0, description="How long a hook's script may be evaluated, checks not counted."
    )
    hook_steps: PositiveInt = Field(
        50_000_000, description="How many steps a hook's script may take."
    )
    hook_live: PositiveInt = Field(
        64 << 20, description="How many bytes of values a hook's script may keep alive."
    )
    hook_output: PositiveInt = Field(
        1_000_000, description="How many bytes a hook's script may log."
    )
    deliveries_at_once: PositiveInt = Field(
        64, description="How many deliveries are handled at the same time."
    )
    delivery_attempts: PositiveInt = Field(
        3, description="How often a delivery that fails is tried before it is set aside."
    )
    log_limit: PositiveInt = Field(
        1 << 30, description="How many bytes of one step's log are kept."
    )
    output_limit: PositiveInt = Field(
        1 << 30,
        description="How many bytes of a thunk's output one visitor is handed from its runner.",
    )
    keep_seconds: PositiveFloat | None = Field(
        None, description="How long runs are kept after their end. Default: for ever."
    )
    keep_bytes: PositiveInt | None = Field(
        None,
        description="How many bytes of logs are kept; the oldest runs go first. Default: all.",
    )
    keep_repositories: dict[str, Keep] = Field(
        default_factory=dict,
        description="Bounds of single repositories: "
        '`{"owner/name": {"seconds": 604800, "bytes": 1000000000}}`.',
    )
    log_waiting: PositiveInt = Field(
        4 << 20, description="How many bytes of logs may wait for the disk before runners have to."
    )
    drain_seconds: NonNegativeFloat = Field(
        60.0, description="How long running checks may finish after SIGTERM."
    )
    metrics_listen: Address | None = Field(
        None, description="Where metrics for Prometheus listen, at `/metrics`."
    )
    metrics_token: SecretStr | None = Field(
        None,
        description="The token that metrics need; with it they are at `/metrics` of the pages too.",
    )
    otel_exporter_otlp_endpoint: BaseURL | None = Field(
        None,
        description="The collector that traces are sent to, over HTTP (needs `bassloop[otel]`).",
    )
    log_level: str = Field("info", description="debug, info, warning or error.")

    @model_validator(mode="after")
    def _pairs(self) -> Self:
        if (self.tls_cert_path is None) != (self.tls_key_path is None):
            raise ValueError("TLS_CERT_PATH and TLS_KEY_PATH go together; only one is set")
        if self.session_secret and len(self.session_secret.get_secret_value()) < 32:
            raise ValueError(
                "SESSION_SECRET must have 32 characters at least, such as 64 of base16"
            )
        if (
            self.blobs_bucket
            and "://" in self.blobs_bucket
            and not self.blobs_bucket.startswith("file://")
        ):
            raise ValueError("BLOBS_BUCKET must be a folder or a file:// address")
        return self

    @property
    def database(self) -> Path:
        """The database's file."""
        return self.sqlite_path or self.data_dir / "loop.db"

    @property
    def blobs(self) -> Path:
        """The folder of the logs."""
        if self.blobs_bucket is None:
            return self.data_dir / "blobs"
        return Path(self.blobs_bucket.removeprefix("file://").partition("?")[0])

    @property
    def host_key_path(self) -> Path:
        """The SSH host key's file."""
        return self.ssh_host_key_path or self.data_dir / "ssh_host_ed25519_key"

    @property
    def operator_names(self) -> frozenset[str]:
        """The operators' ids, and logins in lower case."""
        names = (name.strip().lstrip("@").lower() for name in (self.operators or "").split(","))
        return frozenset(name for name in names if name)

    def private_key(self) -> str | None:
        """The App's private key, PEM. Raises SettingsError when its file can't be read."""
        if self.github_app_private_key is not None:
            return self.github_app_private_key.get_secret_value()
        if self.github_app_private_key_path is None:
            return None
        return _read(self.github_app_private_key_path, "GITHUB_APP_PRIVATE_KEY_PATH")

    def policy(self) -> str | None:
        """The operator's policies, TOML. Raises SettingsError when the file can't be read."""
        return None if self.policy_path is None else _read(self.policy_path, "POLICY_PATH")

    def secret(self, name: str) -> str | None:
        """A secret setting's value; None for one that is not set, or empty."""
        secret: SecretStr | None = getattr(self, name)
        return (secret.get_secret_value() or None) if secret else None

    def webhook_secret(self) -> bytes | None:
        """What deliveries are signed with."""
        secret = self.secret("github_app_webhook_secret")
        return secret.encode() if secret else None


def _read(path: Path, setting: str) -> str:
    try:
        return path.read_text()
    except OSError as error:
        raise SettingsError(f"{setting}: can't read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise SettingsError(f"{setting}: {path} is not UTF-8 text") from error


def load_settings(**overrides: Any) -> Settings:
    """Read the settings; `overrides` (from the command line) win over the environment, None does not count.

    Raises SettingsError, with one line for each setting that can't be used.
    """
    given = {name: value for name, value in overrides.items() if value is not None}
    file = settings_path()
    try:
        return Settings(
            _env_file=file if file.is_file() else None,
            _secrets_dir=os.environ.get("CREDENTIALS_DIRECTORY"),
            **given,
        )
    except ValidationError as error:
        lines = []
        for problem in error.errors():
            name = "_".join(str(part) for part in problem["loc"]).upper()
            lines.append(f"{name}: {problem['msg']}" if name else problem["msg"])
        raise SettingsError(
            "\n".join(line.replace("Value error, ", "") for line in lines)
        ) from error
