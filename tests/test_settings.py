"""Settings come from the environment, and invalid ones are reported by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from bassloop.addresses import parse_address
from bassloop.settings import SettingsError
from bassloop.settings_reader import load_settings


@pytest.fixture(autouse=True)
def _no_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("BASSLOOP_SETTINGS", str(tmp_path / "none.env"))


def test_every_setting_has_a_default() -> None:
    settings = load_settings()
    assert settings.ssh_addr.endswith(":6455")
    assert settings.webhook_secret() is None
    assert settings.private_key() is None


def test_the_originals_names_are_understood(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    key = tmp_path / "app.pem"
    key.write_text("the key")
    for name, value in {
        "EXTERNAL_URL": "https://loop.example.com/",
        "GITHUB_APP_ID": "17",
        "GITHUB_APP_PRIVATE_KEY_PATH": str(key),
        "GITHUB_APP_WEBHOOK_SECRET": "s3cret",
        "SSH_ADDR": "0.0.0.0:2222",
        "SQLITE_PATH": "/srv/loop.db",
        "BLOBS_BUCKET": "file:///srv/blobs",
    }.items():
        monkeypatch.setenv(name, value)
    settings = load_settings()
    assert settings.external_url == "https://loop.example.com"
    assert (settings.github_app_id, settings.private_key()) == (17, "the key")
    assert settings.webhook_secret() == b"s3cret"
    assert settings.database == Path("/srv/loop.db")
    assert settings.blobs == Path("/srv/blobs")


def test_the_environment_takes_precedence_over_the_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "settings.env"
    file.write_text("RUNNER_WAIT=5\nLOG_LEVEL=debug\n")
    monkeypatch.setenv("BASSLOOP_SETTINGS", str(file))
    monkeypatch.setenv("RUNNER_WAIT", "7")
    settings = load_settings()
    assert (settings.runner_wait, settings.log_level) == (7.0, "debug")


BAD = """
OPERATORS=octocat hubot -> must be ids or logins, separated by commas, such as 583231, octocat
OPERATORS=$%& -> '$%&' is neither a GitHub id nor a login
EXTERNAL_URL=loop.example.com -> must be an address like https://loop.example.com
EXTERNAL_URL=ftp://loop.example.com -> must be an address like https://
LISTEN=3000 -> must be HOST:PORT, such as 127.0.0.1:3000
LISTEN=localhost:http -> must be HOST:PORT
LISTEN=127.0.0.1:70000 -> must be HOST:PORT
SSH_ADDR=6455 -> must be HOST:PORT
METRICS_LISTEN=on -> must be HOST:PORT
TLS_CERT_PATH=/srv/cert.pem -> TLS_CERT_PATH and TLS_KEY_PATH go together
TLS_KEY_PATH=/srv/key.pem -> TLS_CERT_PATH and TLS_KEY_PATH go together
TRUSTED_PROXIES=localhost -> 'localhost' does not appear to be an IPv4 or IPv6 network; must be addresses
TRUSTED_PROXIES=10.0.0.1/8 -> 10.0.0.1/8 has host bits set; must be addresses
SSH_CONNECTIONS=many -> must be a whole number; for example 2000
SSH_CONNECTIONS=0 -> must be greater than 0; for example 2000
SSH_CONNECTIONS=1.5 -> must be a whole number
SSH_CONNECTIONS_PER_ADDRESS=-1 -> must be greater than 0
SSH_UNAUTHENTICATED=x -> must be a whole number
SSH_AUTH_SECONDS=soon -> 'soon' is not a duration, such as 30s
SSH_AUTH_SECONDS=0 -> must be greater than 0; for example 20s
SSH_AUTH_SECONDS=inf -> 'inf' is not a duration
SSH_AUTH_SECONDS=nan -> 'nan' is not a duration
SSH_REFUSALS_PER_MINUTE=none -> must be a whole number
SSH_SESSIONS_PER_CONNECTION=16k -> must be a whole number
SSH_KEEPALIVE_SECONDS=25 s s -> is not a duration
SSH_KEEPALIVE_COUNT=two -> must be a whole number; for example 2
RUNNER_ANSWER_SECONDS=1 hour -> is not a duration
RUNNER_MESSAGE=4 megs -> is not a size, such as 500MB
RUNNER_MESSAGE=-4MB -> is not a size
RUNNER_WINDOW=0 -> must be greater than 0; for example 1MiB
RUNNER_UPDATES=16.0x -> must be a whole number
PAGE_SLOW_SECONDS=-30 -> is not a duration
BLOBS_BUCKET=s3://bucket -> BLOBS_BUCKET must be a folder or a file:// address
GITHUB_APP_ID=my-loop -> must be a whole number; for example 123456
GITHUB_API_URL=api.github.com -> must be an address like https://
GITHUB_URL=github -> must be an address like https://
SESSION_SECRET=short -> SESSION_SECRET must have 32 characters at least
RUNNER_WAIT=-1 -> '-1' is not a duration
RUNNER_WAIT=ten minutes -> is not a duration, such as 30s, 10m
SUPERSEDE=maybe -> must be true or false; for example true
CHECK_LIMIT=0 -> must be greater than 0; for example 4h
HOOK_SECONDS=5 minutes -> is not a duration
DELIVERIES_AT_ONCE=1e6 -> must be a whole number; for example 64
HOOK_MEMORY=lots -> is not a size
HOOK_OUTPUT=1 m b -> is not a size
DELIVERIES_AT_ONCE=0 -> must be greater than 0; for example 64
DELIVERY_ATTEMPTS=three -> must be a whole number; for example 3
LOG_LIMIT=1,000 -> is not a size
OUTPUT_LIMIT=big -> is not a size
KEEP_SECONDS=forever -> 'forever' is not a duration
KEEP_BYTES=50 gigabytes -> is not a size
KEEP_BYTES=0 -> must be greater than 0; for example 50GB
KEEP_REPOSITORIES=a/b -> must be JSON: Expecting value
KEEP_REPOSITORIES=[] -> must be a JSON object; for example {"owner/name"
KEEP_REPOSITORIES={"a/b": 7} -> KEEP_REPOSITORIES.a/b: must be a JSON object
KEEP_REPOSITORIES={"a/b": {"days": 7}} -> KEEP_REPOSITORIES.a/b.days: is not known; seconds and bytes are
KEEP_REPOSITORIES={"a/b": {"seconds": "soon"}} -> KEEP_REPOSITORIES.a/b.seconds: 'soon' is not a duration
LOG_WAITING=4MBit -> is not a size
DRAIN_SECONDS=a while -> is not a duration
OTEL_EXPORTER_OTLP_ENDPOINT=localhost:4318 -> must be an address like https://
LOG_LEVEL=garbage -> 'garbage' must be 'debug', 'info', 'warning' or 'error'; for example info
""".strip().splitlines()


@pytest.mark.parametrize("line", BAD)
def test_a_bad_setting_is_named_with_its_value_and_what_is_allowed(
    monkeypatch: pytest.MonkeyPatch, line: str
) -> None:
    assignment, _, message = line.partition(" -> ")
    name, _, value = assignment.partition("=")
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as error:
        load_settings()
    [said] = str(error.value).splitlines()
    assert message in said
    assert said.startswith((name, "TLS_CERT_PATH"))
    if "SECRET" not in name and ": " in said and "." not in said.partition(":")[0]:
        assert value[:40] in said or "has host bits" in said or "KEEP_REPOSITORIES" in said


@pytest.mark.parametrize(
    ("name", "value", "read"),
    [
        ("RUNNER_WAIT", "10m", 600),
        ("RUNNER_WAIT", "0", 0),
        ("CHECK_LIMIT", "1h 30m", 5400),
        ("KEEP_SECONDS", "90d", 90 * 86400),
        ("KEEP_BYTES", "50GB", 50 * 10**9),
        ("LOG_LIMIT", "512MiB", 512 << 20),
        ("HOOK_MEMORY", "67108864", 64 << 20),
        ("SUPERSEDE", "no", False),
        ("GITHUB_APP_ID", "", None),
    ],
)
def test_durations_and_sizes_are_read_as_on_the_command_line(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, read: object
) -> None:
    monkeypatch.setenv(name, value)
    assert getattr(load_settings(), name.lower()) == read


def test_bounds_of_a_repository_have_units_too(monkeypatch: pytest.MonkeyPatch) -> None:
    bounds = '{"a/b": {"seconds": "7d", "bytes": 1000}, "c/d": {"bytes": "1GB"}}'
    monkeypatch.setenv("KEEP_REPOSITORIES", bounds)
    kept = load_settings().keep_repositories
    assert (kept["a/b"].seconds, kept["a/b"].bytes) == (7 * 86400, 1000)
    assert (kept["c/d"].seconds, kept["c/d"].bytes) == (None, 10**9)


def test_all_mistakes_are_reported_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSH_CONNECTIONS", "many")
    monkeypatch.setenv("LOG_LEVEL", "loud")
    with pytest.raises(SettingsError, match=r"(?s)SSH_CONNECTIONS.*\nLOG_LEVEL"):
        load_settings()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("RUNER_WAIT=5", "there is no setting RUNER_WAIT; did you mean RUNNER_WAIT?"),
        ("LISTEN_ON=:80", "there is no setting LISTEN_ON; did you mean LISTEN?"),
        ("COLOUR=red", "there is no setting COLOUR"),
    ],
)
def test_an_unknown_name_in_the_file_is_an_error_with_a_suggestion(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str, said: str
) -> None:
    file = tmp_path / "settings.env"
    file.write_text(f"# a comment\nGITHUB_APP_SLUG=my-loop\n{text}\n")
    monkeypatch.setenv("BASSLOOP_SETTINGS", str(file))
    with pytest.raises(SettingsError) as error:
        load_settings()
    assert str(error.value) == f"{file}: {said}"


def test_a_misspelt_name_in_the_environment_is_an_error_with_a_suggestion(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("GITHUB_APP_WEBHOOK_SECERT", "x")
    monkeypatch.setenv("BASSLOOP_SETTING", "x")
    with pytest.raises(SettingsError) as error:
        load_settings()
    assert "GITHUB_APP_WEBHOOK_SECERT; did you mean GITHUB_APP_WEBHOOK_SECRET?" in str(error.value)
    assert "BASSLOOP_SETTING; did you mean BASSLOOP_SETTINGS?" in str(error.value)


def test_variables_of_other_programs_are_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are those of sshd, systemd, Kubernetes, GitHub Actions and OpenTelemetry."""
    for name in [
        "SSH_CONNECTION",
        "SSH_CLIENT",
        "SSH_TTY",
        "SSH_AUTH_SOCK",
        "LISTEN_FDS",
        "LISTEN_PID",
        "LISTEN_FDNAMES",
        "LOGLEVEL",
        "GITHUB_TOKEN",
        "GITHUB_ACTION",
        "GITHUB_REPOSITORY",
        "GITHUB_SERVER_URL",
        "GITHUB_GRAPHQL_URL",
        "RUNNER_OS",
        "RUNNER_NAME",
        "RUNNER_TEMP",
        "RUNNER_TOOL_CACHE",
        "AWS_PROFILE",
        "AWS_REGION",
        "KUBERNETES_PORT",
        "OTEL_EXPORTER_OTLP_HEADERS",
        "OTEL_EXPORTER_OTLP_TIMEOUT",
        "OTEL_EXPORTER_OTLP_PROTOCOL",
        "CREDENTIALS_DIRECTORY",
        "NOTIFY_SOCKET",
    ]:
        monkeypatch.setenv(name, "x")
    monkeypatch.delenv("CREDENTIALS_DIRECTORY")
    assert load_settings().listen == "127.0.0.1:3000"


def test_a_missing_key_file_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_APP_PRIVATE_KEY_PATH", "/nowhere/app.pem")
    with pytest.raises(SettingsError, match="GITHUB_APP_PRIVATE_KEY_PATH: can't read /nowhere"):
        load_settings().private_key()


def test_secrets_are_not_in_the_settings_repr(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_APP_WEBHOOK_SECRET", "s3cret")
    assert "s3cret" not in repr(load_settings())


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("127.0.0.1:3000", ("127.0.0.1", 3000)),
        (":6455", ("0.0.0.0", 6455)),
        ("[::1]:80", ("::1", 80)),
    ],
)
def test_addresses_are_parsed(text: str, parsed: tuple[str, int]) -> None:
    assert parse_address(text) == parsed


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"database_url": "mysql://h/loop"}, "DATABASE_URL must begin with postgresql://"),
        (
            {"database_url": "postgresql://h/loop", "sqlite_path": "loop.db"},
            "SQLITE_PATH and DATABASE_URL are two databases: set one of them",
        ),
    ],
)
def test_only_one_database_can_be_set(values: dict[str, str], words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        load_settings(**values)


def test_the_address_of_a_database_is_a_secret() -> None:
    settings = load_settings(database_url="postgresql://ada:password@h/loop")
    assert settings.database == "postgresql://ada:password@h/loop"
    assert "password" not in repr(settings)
