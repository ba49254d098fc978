"""The daemon's settings. `settings_reader` reads them.

The daemon starts with the defaults alone, and logs which features are off because a setting is missing. Durations and
sizes may have units (`units.py`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

import platformdirs
from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator

from bassloop.setting_types import (
    Address,
    BaseURL,
    Bytes,
    Count,
    Networks,
    People,
    Repositories,
    Seconds,
    SecondsOrNone,
    SizeOrNone,
    read_duration,
    read_size,
)
from bassloop.units import write_duration, write_size

APP = "bass-loop"
MIN_SECRET = 32


class SettingsError(Exception):
    """Some settings can't be used. The message has a line for each, with the allowed values and an example."""


def default_data_dir() -> Path:
    """Return the default directory for the database and the logs."""
    return Path(platformdirs.user_data_dir(APP))


class Settings(BaseModel):
    """The daemon's settings. `load_settings` reads them; made directly, they have defaults and what is passed."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    external_url: BaseURL | None = Field(
        None,
        description="The URL at which people and GitHub reach the loop.",
        examples=["https://loop.example.com"],
    )
    listen: Address = Field(
        "127.0.0.1:3000", description="The address that pages and webhooks are served on."
    )
    tls_cert_path: Path | None = Field(None, description="Serve HTTPS with this certificate chain.")
    tls_key_path: Path | None = Field(None, description="The key of TLS_CERT_PATH.")

    trusted_proxies: Networks = Field(
        default_factory=tuple,
        description="Addresses and networks of proxies whose X-Forwarded-For and X-Forwarded-Proto "
        "are believed, such as `127.0.0.1 10.0.0.0/8`.",
        examples=["127.0.0.1 10.0.0.0/8"],
    )

    ssh_addr: Address = Field("0.0.0.0:6455", description="The address that runners connect to.")
    ssh_host_key: SecretStr | None = Field(None, description="The SSH host key itself (PEM).")
    ssh_host_key_path: Path | None = Field(
        None, description="The file with the SSH host key. It's created at the first start."
    )

    ssh_proxies: Networks = Field(
        default_factory=tuple,
        description="Addresses and networks of balancers in front of SSH_ADDR, whose connections must begin with the "
        "PROXY protocol (version 2).",
        examples=["10.0.0.0/28"],
    )
    ssh_connections: Count = Field(2_000, description="The maximum number of open SSH connections.")
    ssh_connections_per_address: Count = Field(
        100, description="The maximum for one IPv4 address, or one IPv6 /64."
    )
    ssh_unauthenticated: Count = Field(
        50, description="The maximum number of open SSH connections that haven't authenticated yet."
    )
    ssh_unauthenticated_per_address: Count = Field(
        10, description="The maximum of these for one address."
    )
    ssh_auth_seconds: Seconds = Field(
        20.0, description="The time limit for an SSH connection to authenticate."
    )
    known_keys_seconds: SecondsOrNone = Field(
        6 * 3600.0,
        description="While GitHub doesn't answer, or doesn't let the loop ask, a runner gets in with a key that GitHub "
        "listed this long ago at most. It's checked as soon as GitHub answers.",
    )
    ssh_refusals_per_minute: Count = Field(
        20,
        description="The number of failed SSH connections a minute after which an address has to wait.",
    )
    ssh_sessions_per_connection: Count = Field(
        16,
        description="The maximum number of sessions, one for each runtime, on an SSH connection.",
    )
    ssh_forwards_per_connection: Count = Field(
        16, description="The maximum number of sockets that an SSH connection forwards."
    )
    ssh_keepalive_seconds: Seconds = Field(
        25.0, description="The interval at which a silent runner is probed."
    )
    ssh_keepalive_count: Count = Field(
        2, description="The number of probes in a row that a runner may leave unanswered."
    )
    runner_answer_seconds: Seconds = Field(
        30.0, description="The time limit for a runner to open a channel for a call."
    )
    runner_message: Bytes = Field(
        4 << 20, description="The maximum size of a message from a runner."
    )
    runner_window: Bytes = Field(
        1 << 20,
        description="The amount of a run's progress that a runner may send ahead of the store.",
    )
    runner_updates: Count = Field(
        16, description="The maximum number of a run's messages that wait for the store."
    )
    page_slow_seconds: Seconds = Field(
        30.0,
        description="The time after which a reader of pages who reads nothing is disconnected, or its response over "
        "HTTP/2 ended.",
    )

    websockets: Count = Field(
        200,
        description="The maximum number of open websockets (pages that follow something) of visitors who haven't "
        "signed in. Those who have signed in may have as many.",
    )
    websockets_per_visitor: Count = Field(
        40,
        description="The maximum for one IPv4 address, or one IPv6 /64, and for one person who has signed in.",
    )

    sqlite_path: Path | None = Field(
        None, description="The database. Default: loop.db in the data directory."
    )
    database_url: SecretStr | None = Field(
        None,
        description="The PostgreSQL database to use instead of a file (needs `bassloop[postgresql]`).",
        examples=["postgresql://bassloop:PASSWORD@db.example.com/bassloop"],
    )
    database_pool_url: SecretStr | None = Field(
        None,
        description=(
            "DATABASE_URL through a pooler such as PgBouncer, in transaction mode as well. The daemon reads and "
            "writes through it; notifications and leases need DATABASE_URL."
        ),
        examples=["postgresql://bassloop:PASSWORD@127.0.0.1:6432/bassloop"],
    )
    node_name: str | None = Field(
        None,
        description="This daemon's name among those that share DATABASE_URL. Default: the host's name.",
        examples=["loop-1"],
    )
    node_address: BaseURL | None = Field(
        None,
        description="The URL at which the others that share DATABASE_URL reach this daemon. Default: LISTEN's.",
        examples=["http://10.0.0.1:3000"],
    )
    blobs_bucket: str | None = Field(
        None,
        description="The folder for the logs. Default: blobs in the data directory.",
        examples=["/srv/bass-loop/blobs"],
    )
    blobs_url: str | None = Field(
        None,
        description="The bucket for logs and artifacts (needs `bassloop[bucket]`). What is still being written is in "
        "the folder for the logs.",
        examples=["s3://bucket/prefix?endpoint=https://s3.example.com"],
    )
    blobs_cache: SizeOrNone = Field(
        1 << 30, description="The disk space for what was read from the bucket."
    )
    blobs_waiting: Bytes = Field(
        4 << 30,
        description="The size of all logs waiting for the bucket at which commands have to wait.",
    )
    aws_access_key_id: SecretStr | None = Field(
        None,
        description="The access key for the bucket. Default: the file `~/.aws/credentials`, or the machine's role.",
    )
    aws_secret_access_key: SecretStr | None = Field(
        None, description="The secret of AWS_ACCESS_KEY_ID."
    )
    aws_session_token: SecretStr | None = Field(
        None, description="The session's token, if the access key is a temporary one."
    )
    data_dir: Path = Field(default_factory=default_data_dir, description="The data directory.")

    github_app_id: int | None = Field(None, description="The GitHub App's id.", examples=[123456])
    github_app_client_id: str | None = Field(
        None, description="The App's client id, for people to sign in."
    )
    github_app_client_secret: SecretStr | None = Field(None, description="The App's client secret.")
    github_app_private_key: SecretStr | None = Field(
        None, description="The App's private key (PEM)."
    )
    github_app_private_key_path: Path | None = Field(
        None, description="The file with the App's private key."
    )
    github_app_webhook_secret: SecretStr | None = Field(
        None, description="The App's webhook secret."
    )
    github_api_url: BaseURL = Field(
        "https://api.github.com", description="GitHub's API, or an Enterprise Server's."
    )
    github_url: BaseURL | None = Field(
        None,
        description="GitHub's web pages. Default: those that belong to GITHUB_API_URL.",
        examples=["https://github.com"],
    )
    operators: People | None = Field(
        None,
        description="GitHub ids or logins of people who see runners and deliveries, separated by "
        "commas. Ids never change hands.",
    )
    session_secret: SecretStr | None = Field(
        None,
        description="The key that signs sessions. Default: the file session_secret in the data "
        "directory, which is made at the first start.",
    )

    policy_path: Path | None = Field(
        None, description="The operator's policies for repositories, in TOML (see github.md)."
    )
    runner_wait: SecondsOrNone = Field(
        600.0, description="The time that a check waits for its sender's runner."
    )
    supersede: bool = Field(
        True, description="Let a push cancel the checks of the head that it replaces."
    )
    check_limit: Seconds = Field(4 * 3600.0, description="The time limit for a check.")
    hook_cpu: Seconds = Field(10.0, description="The limit on a hook's processor time.")
    hook_seconds: Seconds = Field(
        300.0,
        description="The time limit for the evaluation of a hook. Waiting, such as for checks, doesn't count.",
    )
    hook_memory: Bytes = Field(512 << 20, description="The limit on a hook's memory.")
    hook_output: Bytes = Field(
        1_000_000, description="The limit on what a hook logs. Each message counts 64 bytes more."
    )
    evaluators: Count | None = Field(
        None,
        description="The number of hooks that are evaluated at the same time, at most half of them for one "
        "repository. Default: two for each processor.",
    )
    hooks_waiting: Count = Field(
        256,
        description="The maximum number of hooks that wait for checks or runners, each in a process of its own.",
    )
    deliveries_at_once: Count = Field(
        64,
        description="The maximum number of deliveries that are handled at the same time. Fewer are while the event "
        "loop is busy, so that webhooks don't wait.",
    )
    delivery_attempts: Count = Field(
        3, description="The number of attempts at a failing delivery before it's set aside."
    )
    log_limit: Bytes = Field(
        1 << 30, description="The maximum size of a step's log. The rest is dropped."
    )
    run_log: Bytes = Field(
        4 << 30, description="The maximum size of all logs of a run. The rest is dropped."
    )
    run_steps: Count = Field(
        10_000, description="The maximum number of a run's steps. Further ones are dropped."
    )
    run_updates: Count = Field(
        500,
        description="The number of messages a second that a run's runner may send before it has to wait.",
    )
    user_log_a_day: Bytes = Field(
        50 << 30,
        description="The maximum size of the logs of one user's runs in a day. The rest is dropped.",
    )
    repository_log_a_day: Bytes = Field(
        50 << 30,
        description="The maximum size of the logs of one repository's runs in a day. The rest is dropped.",
    )
    user_runs: Count = Field(
        256,
        description="The maximum number of one user's runs at the same time. Further ones wait.",
    )
    repository_runs: Count = Field(
        256,
        description="The maximum number of one repository's runs at the same time. Further ones wait.",
    )
    free_space: SizeOrNone = Field(
        256 << 20,
        description="The disk space that logs leave free for deliveries. With 0, commands wait for room instead.",
    )
    output_limit: Bytes = Field(
        1 << 30, description="The maximum size of an output that a visitor downloads."
    )
    artifact_limit: Bytes = Field(256 << 20, description="The maximum size of an artifact.")
    run_artifacts: Bytes = Field(
        1 << 30, description="The maximum size of all artifacts of a run. Further ones aren't kept."
    )
    repository_artifacts: Bytes = Field(
        10 << 30,
        description="The maximum size of the artifacts that are kept for one repository. While it's reached, no "
        "further ones are kept.",
    )
    artifact_seconds: Seconds = Field(
        30 * 86_400.0,
        description="The time that artifacts are kept after they were made, if their run is kept as long.",
    )
    keep_seconds: Seconds | None = Field(
        None,
        description="The time that runs are kept after they have ended. Default: forever.",
        examples=["90d"],
    )
    keep_bytes: Bytes | None = Field(
        None,
        description="The disk space for logs. The oldest runs are removed first. Default: no limit.",
        examples=["50GB"],
    )
    keep_repositories: Repositories = Field(
        default_factory=dict,
        description="Bounds for single repositories: "
        '`{"owner/name": {"seconds": "7d", "bytes": "1GB"}}`.',
        examples=['{"owner/name": {"seconds": "7d", "bytes": "1GB"}}'],
    )
    log_waiting: Bytes = Field(
        4 << 20,
        description="The size of all logs waiting for the disk at which runners have to wait.",
    )
    drain_seconds: SecondsOrNone = Field(
        60.0, description="The time that running checks have to finish after SIGTERM."
    )
    metrics_listen: Address | None = Field(
        None,
        description="The address that metrics for Prometheus are served on, at `/metrics`.",
        examples=["127.0.0.1:9464"],
    )
    metrics_token: SecretStr | None = Field(
        None,
        description="The token for reading metrics. If it's set, pages serve them at `/metrics`, too.",
    )
    otel_exporter_otlp_endpoint: BaseURL | None = Field(
        None,
        description="The collector that traces are sent to, over HTTP (needs `bassloop[otel]`).",
        examples=["http://127.0.0.1:4318"],
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="The least severe level that is logged: debug, info, warning or error."
    )

    @model_validator(mode="after")
    def _check_combinations(self) -> Self:
        if (self.tls_cert_path is None) != (self.tls_key_path is None):
            raise ValueError("TLS_CERT_PATH and TLS_KEY_PATH go together; only one is set")
        if self.database_url:
            if self.sqlite_path is not None:
                raise ValueError("SQLITE_PATH and DATABASE_URL are two databases: set one of them")
            if not self.database_url.get_secret_value().startswith(
                ("postgresql://", "postgres://")
            ):
                raise ValueError("DATABASE_URL must begin with postgresql://")
        if self.database_pool_url and not self.database_url:
            raise ValueError("DATABASE_POOL_URL goes with DATABASE_URL, which is not set")
        if self.session_secret and len(self.session_secret.get_secret_value()) < MIN_SECRET:
            raise ValueError(
                "SESSION_SECRET must have 32 characters at least; "
                "for example: SESSION_SECRET=$(openssl rand -hex 32)"
            )
        if (
            self.blobs_bucket
            and "://" in self.blobs_bucket
            and not self.blobs_bucket.startswith("file://")
        ):
            raise ValueError(
                "BLOBS_BUCKET must be a folder or a file:// address; a bucket is named in BLOBS_URL"
            )
        half = (self.aws_access_key_id is None) != (self.aws_secret_access_key is None)
        if self.blobs_url is not None and half:
            raise ValueError(
                "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY go together; only one is set"
            )
        return self

    @property
    def database(self) -> Path | str:
        """The database's file, or its address with the password."""
        return self.secret("database_url") or self.sqlite_path or self.data_dir / "loop.db"

    @property
    def blobs(self) -> Path:
        """The folder of the logs."""
        if self.blobs_bucket is None:
            return self.data_dir / "blobs"
        return Path(self.blobs_bucket.removeprefix("file://").partition("?")[0])

    @property
    def address_file(self) -> Path:
        """The file with the running daemon's address, for commands on the same machine."""
        return self.data_dir / "daemon.json"

    @property
    def node_locks(self) -> Path:
        """The folder of the lock files of nodes that have this data directory."""
        return self.data_dir / "nodes"

    @property
    def host_key_path(self) -> Path:
        """The SSH host key's file."""
        return self.ssh_host_key_path or self.data_dir / "ssh_host_ed25519_key"

    @property
    def operator_names(self) -> frozenset[str]:
        """The operators' ids, and their logins in lower case."""
        names = (name.strip().lstrip("@").lower() for name in (self.operators or "").split(","))
        return frozenset(name for name in names if name)

    def private_key(self) -> str | None:
        """Return the App's private key, PEM. Raises SettingsError if its file can't be read."""
        if self.github_app_private_key is not None:
            return self.github_app_private_key.get_secret_value()
        if self.github_app_private_key_path is None:
            return None
        return read_text_file(self.github_app_private_key_path, "GITHUB_APP_PRIVATE_KEY_PATH")

    def policy(self) -> str | None:
        """Return the operator's policies, TOML. Raises SettingsError if the file can't be read."""
        return None if self.policy_path is None else read_text_file(self.policy_path, "POLICY_PATH")

    def secret(self, name: str) -> str | None:
        """Return the value of a secret setting, or None if it is not set or empty."""
        secret: SecretStr | None = getattr(self, name)
        return (secret.get_secret_value() or None) if secret else None

    def webhook_secret(self) -> bytes | None:
        """Return the key that deliveries are signed with."""
        secret = self.secret("github_app_webhook_secret")
        return secret.encode() if secret else None


def read_text_file(path: Path, setting: str) -> str:
    """Return the content of a file that a setting names. Raises SettingsError."""
    try:
        return path.read_text()
    except OSError as error:
        raise SettingsError(f"{setting}: can't read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise SettingsError(f"{setting}: {path} is not UTF-8 text") from error


def written_default(field: str) -> str:
    """Return a setting's default as people would write it; "" if it has none, or if it depends on the machine."""
    info = Settings.model_fields[field]
    if info.default is None or info.default_factory is not None:
        return ""
    readers = [getattr(each, "func", None) for each in info.metadata]
    if read_duration in readers:
        return write_duration(info.default)
    if read_size in readers:
        return write_size(info.default)
    return str(info.default).lower() if isinstance(info.default, bool) else str(info.default)
