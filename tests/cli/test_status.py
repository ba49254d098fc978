"""`bassloop status` shows how the loop is, whether the daemon runs or not."""

from __future__ import annotations

import json
import os
import socket
import sqlite3
import subprocess
import sys
import time
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

import pytest
import trio

from bassloop.store import open_store
from bassloop.tools import local_daemon
from tests.commands import run_command
from tests.daemon.certificates import write_certificate
from tests.forked_programs import running_bassloop

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a daemon on a busy machine take long to answer."""
    monkeypatch.setattr(local_daemon, "ANSWER_SECONDS", 120.0)


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    """A daemon's environment, on a port that is free."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    known = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME")}
    return {
        **known,
        "BASSLOOP_SETTINGS": str(tmp_path / "none.env"),
        "DATA_DIR": str(tmp_path / "data"),
        "LISTEN": f"127.0.0.1:{port}",
        "SSH_ADDR": "127.0.0.1:0",
        "PYTHONPATH": os.pathsep.join(sys.path),
    }


@contextmanager
def daemon(env: dict[str, str], *arguments: str) -> Iterator[None]:
    """A daemon, ready."""
    with running_bassloop("serve", *arguments, env=env, stderr=subprocess.PIPE) as (_, log):
        assert any('"event": "ready"' in line for line in log)
        yield


def status(env: dict[str, str], *arguments: str) -> tuple[int, str]:
    """Return the exit status and the output of the command, with these environment variables only."""
    unset = dict.fromkeys(os.environ.keys() - env.keys())
    done = run_command("status", *arguments, env={**unset, **env})
    return done.returncode, done.stdout + done.stderr


def test_a_running_daemon_is_shown_part_by_part(env: dict[str, str]) -> None:
    with daemon(env):
        code, said = status(env)
        assert status(env, "--up") == (0, "")
    assert code == 0
    lines = [line.split() for line in said.splitlines()]
    assert lines[:5] == [
        ["daemon", "ready"],
        ["gateway", "ok"],
        ["github", "ok", "no", "App", "is", "set,", "so", "it", "is", "not", "asked"],
        ["inbox", "ok"],
        ["store", "ok"],
    ]
    assert "0 waiting; 0 being handled" in said
    assert "0 queued; 0 running" in said
    assert "none connected" in said


def test_a_database_that_another_process_locks_is_named(
    env: dict[str, str], tmp_path: Path
) -> None:
    with daemon(env), closing(sqlite3.connect(tmp_path / "data" / "loop.db")) as other:
        other.execute("BEGIN IMMEDIATE")
        code, said = status(env)
    assert code == 1
    lines = [line.split(maxsplit=2) for line in said.splitlines()]
    assert lines[0] == ["daemon", "not", "ready"]
    assert ["store", "FIX", "another process keeps the database locked"] in lines
    assert lines[-1][:2] == ["database", "FIX"]
    assert "is locked by another process: end that process" in lines[-1][2]


def test_a_daemon_with_an_address_on_its_command_line_is_found(
    env: dict[str, str], tmp_path: Path
) -> None:
    with daemon(env, "--listen", "127.0.0.1:0"):
        assert status(env, "--up") == (0, "")
        assert status(env)[0] == 0
    # It was killed, so the file is still there; the next daemon listens where the settings say.
    assert (tmp_path / "data" / "daemon.json").exists()
    with daemon(env):
        assert status(env, "--up") == (0, "")


def test_a_daemon_with_another_data_directory_is_found_while_it_runs(
    env: dict[str, str], tmp_path: Path
) -> None:
    home = {**env, "HOME": str(tmp_path), "XDG_STATE_HOME": "", "XDG_DATA_HOME": ""}
    elsewhere = {name: value for name, value in home.items() if name != "DATA_DIR"}
    with daemon(home):
        assert status(elsewhere)[0] == 0
        other = {**home, "DATA_DIR": str(tmp_path / "other"), "LISTEN": "127.0.0.1:0"}
        with daemon(other):
            code, said = status(elsewhere)
            assert code == 1
            assert "bassloop: 2 daemons run here; say which one is meant:" in said
            assert f"--data-dir {tmp_path / 'other'}" in said
            assert status(elsewhere, "--data-dir", str(tmp_path / "other"))[0] == 0
    # Both were killed, so nobody says where their data is.
    assert "there is no database" in status(elsewhere)[1]
    assert not list((tmp_path / ".local/state/bass-loop/daemons").iterdir())


def test_a_daemon_with_its_own_certificate_is_found_too(
    env: dict[str, str], tmp_path: Path
) -> None:
    chain, key = tmp_path / "chain.pem", tmp_path / "key.pem"
    write_certificate(chain, key, "loop.example.com")
    env |= {"TLS_CERT_PATH": str(chain), "TLS_KEY_PATH": str(key)}
    with daemon(env):
        assert status(env, "--up") == (0, "")
        assert status(env)[0] == 0


async def _leave_waiting(data: Path) -> None:
    async with open_store(data / "loop.db", data / "blobs") as store:
        await store.deliveries.record("g1", "push", None, b"{}", received_at=1.0)
        await store.deliveries.record("g2", "push", None, b"{}")
        await store.deliveries.set_state("g2", "set_aside", "no luck")
        # A clock that has been set back since: nothing of it gets old while this test runs.
        now = round(time.time()) + 600
        await store.api_spending.put(
            "installation 1",
            at=now,
            spent=[(now - 690, 100), (now - 2, 4), (now - 1, 30), (now - 1, 6)],
            purposes=["start", "conclude", "start", "conclude"],
            reserved=5,
            closed_until=now + 2400,
        )


def test_waiting_deliveries_are_listed_while_the_daemon_is_down(
    env: dict[str, str], tmp_path: Path
) -> None:
    trio.run(_leave_waiting, tmp_path / "data")
    code, said = status(env, "--json")
    picture = json.loads(said)
    assert code == 1
    assert (picture["running"], picture["ready"], picture["parts"]) == (False, False, {})
    assert picture["deliveries"] == {"received": 1, "handling": 0}
    assert picture["oldest_waiting_seconds"] > 1e9
    [points] = picture["github_points"].items()
    assert points[0] == "installation 1"
    assert (points[1]["spent"], points[1]["a_minute"]) == (45, 900)
    assert points[1]["purposes"] == {"start": 30, "conclude": 10}
    assert 2900 < points[1]["closed_seconds"] <= 3001
    assert picture["set_aside"] == ["g2"]
    said = status(env)[1]
    assert "not running" in said
    assert "1 waiting, the oldest for" in said
    assert "45 of 900 points spent in the last minute (start 30, conclude 10)" in said
    assert status(env, "--up") == (1, "")


def test_a_missing_database_is_reported_with_its_path(env: dict[str, str]) -> None:
    code, said = status(env)
    assert code == 1
    assert "there is no database" in said
