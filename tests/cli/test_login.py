"""Signing in from a terminal, with a code that is typed in on GitHub."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
import trio

from bassloop.tools.device_login import drop_session, session_headers, site_of, store_session
from bassloop.tools.trial import Trial, TrialOptions, open_trial
from tests.until import until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.repositories import MakeRepository


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "state" / "sessions.json"
    monkeypatch.setenv("BASSLOOP_SESSIONS", str(path))
    return path


def test_a_session_is_kept_for_its_owner_alone(kept: Path) -> None:
    store_session("https://loop.example.com/", "octocat", "t", "2030-01-01T00:00:00Z")
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert session_headers("https://loop.example.com:443") == [("Authorization", "Bearer t")]
    drop_session("https://loop.example.com/runs")
    assert session_headers("https://loop.example.com") == []


@pytest.mark.parametrize(
    "url",
    ["http://loop.example.com", "https://loop.example.com:8443", "https://loop.example.com.evil"],
)
def test_a_session_is_sent_nowhere_else(kept: Path, url: str) -> None:
    store_session("https://loop.example.com", "octocat", "t", "2030-01-01T00:00:00Z")
    assert session_headers(url) == []


def test_a_file_that_is_broken_is_no_session(kept: Path) -> None:
    kept.parent.mkdir()
    kept.write_text("{broken")
    assert session_headers("https://loop.example.com") == []
    assert site_of("HTTPS://Loop.Example.com:443/x") == "https://loop.example.com"
    with pytest.raises(ValueError, match="is no address"):
        site_of("loop.example.com")


async def command(*args: str, check: int = 0) -> str:
    """Run a command, and return its output."""
    done = await trio.run_process(
        [sys.executable, "-m", "bassloop", *args],
        capture_stdout=True,
        stderr=subprocess.STDOUT,
        check=False,
        env=dict(os.environ),
    )
    text = done.stdout.decode()
    assert done.returncode == check, text
    return text


async def typed_in(trial: Trial, login: str, *, allow: bool = True) -> None:
    """Type in the code of the terminal that waits."""
    await until(lambda: trial.standin.sign_ins.devices)
    [device] = trial.standin.sign_ins.devices.values()
    trial.standin.sign_ins.decide(device.user_code, login, allow=allow)


async def test_a_private_log_is_shown_to_who_signed_in(
    kept: Path,
    make_repository: MakeRepository,
) -> None:
    path = make_repository(""":say (on src ($ sh -c "echo swordfish"))""")
    with trio.fail_after(200):
        async with open_trial(TrialOptions(path, private=True)) as trial:
            trial.standin.sign_ins.interval = 1
            await trial.daemon.inbox.finished(trial.guid)
            [run] = (await trial.daemon.store.runs.newest(public_only=False)).items
            address = f"{trial.daemon.url}/runs/{run.id}"
            assert "swordfish" not in await command("logs", address, check=5)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(typed_in, trial, trial.standin.login)
                said = await command("login", trial.daemon.url)
            assert f"as {trial.standin.login}" in said
            assert list(json.loads(kept.read_text())) == [trial.daemon.url]
            assert "swordfish" in await command("logs", address)
            assert "signed out" in await command("logout")
            assert "swordfish" not in await command("logs", address, check=5)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(lambda: typed_in(trial, trial.standin.login, allow=False))
                said = await command("login", trial.daemon.url, check=1)
            assert "it was refused on GitHub" in said
