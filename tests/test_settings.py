"""Settings come from the environment, and a bad one is told by its name."""

from __future__ import annotations

from pathlib import Path

import pytest

from bassloop.settings import SettingsError, load_settings, parse_address


@pytest.fixture(autouse=True)
def _no_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("BASSLOOP_SETTINGS", str(tmp_path / "none.env"))


def test_everything_has_a_default() -> None:
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


def test_a_file_is_read_and_the_environment_wins(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "settings.env"
    file.write_text("RUNNER_WAIT=5\nLOG_LEVEL=debug\n")
    monkeypatch.setenv("BASSLOOP_SETTINGS", str(file))
    monkeypatch.setenv("RUNNER_WAIT", "7")
    settings = load_settings()
    assert (settings.runner_wait, settings.log_level) == (7.0, "debug")


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("EXTERNAL_URL", "loop.example.com", "EXTERNAL_URL: must be an address like https://"),
        ("SSH_ADDR", "6455", "SSH_ADDR: must be HOST:PORT"),
        ("GITHUB_APP_ID", "seventeen", "GITHUB_APP_ID: "),
        ("RUNNER_WAIT", "-1", "RUNNER_WAIT: "),
        ("TLS_CERT_PATH", "/srv/cert.pem", "TLS_CERT_PATH and TLS_KEY_PATH go together"),
        ("BLOBS_BUCKET", "s3://bucket", "BLOBS_BUCKET must be a folder"),
    ],
)
def test_a_bad_setting_is_named_with_what_it_should_be(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, message: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as error:
        load_settings()
    assert message in str(error.value)


def test_a_key_file_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_APP_PRIVATE_KEY_PATH", "/nowhere/app.pem")
    with pytest.raises(SettingsError, match="GITHUB_APP_PRIVATE_KEY_PATH: can't read /nowhere"):
        load_settings().private_key()


def test_secrets_do_not_show_in_the_settings_repr(monkeypatch: pytest.MonkeyPatch) -> None:
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
def test_addresses(text: str, parsed: tuple[str, int]) -> None:
    assert parse_address(text) == parsed
