"""A daemon that can't start reports the reason and the fix; one that can notifies whoever started it."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest

from tests.forked_programs import run_in_folder, running_bassloop
from tests.github.world import KEY
from tests.loop.world import open_world

from .certificates import write_certificate

if TYPE_CHECKING:
    from tests.repositories import MakeRepository


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    """An environment in which the daemon starts."""
    known = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME")}
    return {
        **known,
        "BASSLOOP_SETTINGS": str(tmp_path / "none.env"),
        "DATA_DIR": str(tmp_path / "data"),
        "LISTEN": "127.0.0.1:0",
        "SSH_ADDR": "127.0.0.1:0",
        "PYTHONPATH": os.pathsep.join(sys.path),
    }


def refused(env: dict[str, str]) -> str:
    """Return the message of a `bassloop serve` that does not start."""
    done = run_in_folder(Path.cwd(), "serve", env=env)
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr.splitlines()[-1]


@pytest.mark.parametrize("setting", ["LISTEN", "SSH_ADDR", "METRICS_LISTEN"])
def test_a_port_that_is_taken_is_named_with_its_setting(env: dict[str, str], setting: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        said = refused({**env, setting: address})
    assert said == f"bassloop: {setting}: can't listen on {address}: Address already in use"


def test_a_key_that_can_not_be_read_is_named(env: dict[str, str], tmp_path: Path) -> None:
    path = tmp_path / "app.pem"
    said = refused({**env, "GITHUB_APP_ID": "1", "GITHUB_APP_PRIVATE_KEY_PATH": str(path)})
    assert (
        said
        == f"bassloop: GITHUB_APP_PRIVATE_KEY_PATH: can't read {path}: No such file or directory"
    )


def test_an_invalid_key_is_reported_immediately(env: dict[str, str]) -> None:
    said = refused({**env, "GITHUB_APP_ID": "1", "GITHUB_APP_PRIVATE_KEY": "no key"})
    assert "the App's private key (GITHUB_APP_PRIVATE_KEY) can't sign" in said
    assert "the PEM file that GitHub gave" in said


def test_an_invalid_certificate_is_reported(env: dict[str, str], tmp_path: Path) -> None:
    chain, key = tmp_path / "chain.pem", tmp_path / "key.pem"
    write_certificate(chain, key, "loop")
    chain.write_text("nothing")
    said = refused({**env, "TLS_CERT_PATH": str(chain), "TLS_KEY_PATH": str(key)})
    assert f"{chain} and {key} can't be used" in said
    assert "the certificate first, then its issuers" in said


def test_an_invalid_address_of_a_proxy_is_named(env: dict[str, str]) -> None:
    said = refused({**env, "TRUSTED_PROXIES": "10.0.0.0/8 localhost"})
    assert said.startswith("bassloop: TRUSTED_PROXIES: 'localhost' does not appear to be")


def test_the_service_manager_is_notified_of_each_stage(env: dict[str, str], tmp_path: Path) -> None:
    """READY, then the watchdog's food, a reload, and STOPPING: as under systemd."""
    chain, key, where = tmp_path / "chain.pem", tmp_path / "key.pem", tmp_path / "notify"
    write_certificate(chain, key, "loop")
    env |= {
        "TLS_CERT_PATH": str(chain),
        "TLS_KEY_PATH": str(key),
        "NOTIFY_SOCKET": str(where),
        "WATCHDOG_USEC": "1000000",
    }
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(where))
        listening.settimeout(200)
        command = [sys.executable, "-m", "bassloop", "serve"]
        with subprocess.Popen(command, env=env, stderr=subprocess.DEVNULL) as daemon:
            try:
                until(listening, "READY=1")
                until(listening, "WATCHDOG=1")
                until(listening, "WATCHDOG=1")
                daemon.send_signal(signal.SIGHUP)
                until(listening, "RELOADING=1")
                until(listening, "READY=1")
                daemon.send_signal(signal.SIGTERM)
                until(listening, "STOPPING=1")
                assert daemon.wait(200) == 0
            finally:
                daemon.kill()


def test_a_daemon_can_be_stopped_cleanly_once_it_says_that_it_is_ready(env: dict[str, str]) -> None:
    with running_bassloop("serve", env=env, stderr=subprocess.PIPE) as (daemon, log):
        next(line for line in log if '"ready"' in line)
        daemon.send_signal(signal.SIGTERM)
        rest = log.read()
        assert (daemon.wait_blocking(), '"stopped"' in rest) == (0, True)


def until(listening: socket.socket, first: str) -> None:
    """Wait until a message that begins so is heard."""
    while listening.recv(4096).decode().partition("\n")[0] != first:
        pass


def test_a_daemon_starts_without_a_network_and_reports_what_is_missing(env: dict[str, str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        nowhere = f"http://127.0.0.1:{gone.getsockname()[1]}"
    env |= {
        "GITHUB_APP_ID": "1",
        "GITHUB_APP_PRIVATE_KEY": KEY.private,
        "GITHUB_API_URL": nowhere,
    }
    with running_bassloop("serve", env=env, stderr=subprocess.PIPE) as (_, log):
        lines = map(json.loads, log)
        url = next(line["url"] for line in lines if line["event"] == "ready")
        said = next(line for line in lines if line["event"] == "not ready")
        answer = httpx.get(f"{url}/ready", trust_env=False, timeout=200)
    assert said["part"] == "github"
    assert answer.status_code == 503
    parts = answer.json()["parts"]
    assert [name for name in parts if not parts[name]["ready"]] == ["github"]
    assert parts["github"]["why"] == "GitHub can't be reached; the loop's log says why"


def test_secrets_can_be_credentials_too(env: dict[str, str], tmp_path: Path) -> None:
    """As systemd's LoadCredential hands them over: files of the settings' names."""
    folder = tmp_path / "credentials"
    folder.mkdir()
    (folder / "GITHUB_APP_PRIVATE_KEY").write_text("no key\n")
    said = refused({**env, "GITHUB_APP_ID": "1", "CREDENTIALS_DIRECTORY": str(folder)})
    assert "the App's private key (GITHUB_APP_PRIVATE_KEY) can't sign" in said


async def test_other_accounts_can_not_read_what_the_daemon_writes(
    make_repository: MakeRepository, tmp_path: Path
) -> None:
    before = os.umask(0o022)
    try:
        async with open_world(make_repository(), tmp_path / "world") as around, around.daemon():
            paths = [around.folder / "data", *(around.folder / "data").rglob("*")]
            modes = {path.name: stat.S_IMODE(path.lstat().st_mode) for path in paths}
    finally:
        os.umask(before)
    assert "loop.db" in modes
    assert not {name: oct(mode) for name, mode in modes.items() if mode & 0o077}
