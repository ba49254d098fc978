"""The daemon's unit under a systemd that was booted for it: it starts, evaluates hooks, and comes back."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bassloop.tools.setup.systemd import ServeFacts, serve_unit
from bassloop.tools.trial import app_key

from .booted import (
    CREDENTIALS,
    Machine,
    boot,
    changed,
    open_up,
    python_path,
    until,
    until_restarted,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.booted, pytest.mark.timeout(1800)]

KEY, SECRET = "GITHUB_APP_PRIVATE_KEY", "GITHUB_APP_WEBHOOK_SECRET"
SETTINGS = """
LISTEN=127.0.0.1:8000
SSH_ADDR=127.0.0.1:6455
GITHUB_API_URL=http://127.0.0.1:9
GITHUB_APP_ID=1
"""


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    with boot(tmp_path) as machine:
        yield machine


def test_the_daemon_evaluates_hooks_and_comes_back_when_it_is_killed_or_hangs(
    machine: Machine,
) -> None:
    open_up(machine)
    credentials = {KEY: app_key().private, SECRET: "secret"}
    for name, content in credentials.items():
        machine.write(CREDENTIALS / name, content)
    machine.write(CREDENTIALS.parent / "settings.env", SETTINGS)
    facts = ServeFacts(
        (sys.executable, "-m", "bassloop", "serve"),
        credentials=tuple((name, CREDENTIALS / name) for name in credentials),
    )
    # As it is installed, but for the test's own Python, which may be in somebody's home.
    unit = changed(
        serve_unit(facts),
        ("ProtectHome=yes", "ProtectHome=read-only"),
        ("WatchdogSec=30", "WatchdogSec=15"),
        ("Environment=", f"Environment=PYTHONPATH={python_path()} "),
    )
    machine.write(Path("/etc/systemd/system/bass-loop.service"), unit, 0o644)
    machine.run("systemctl", "daemon-reload")
    with machine.following() as said:
        machine.run("systemctl", "start", "bass-loop")
        until(said, '"event": "ready"')
        assert "no network, no processes" in until(said, "ready to evaluate hooks")
        assert machine.shown("StatusText").startswith("0 runtimes")

        machine.run("systemctl", "kill", "-s", "KILL", "--kill-whom=main", "bass-loop")
        until_restarted(said)

        machine.run("systemctl", "kill", "-s", "STOP", "--kill-whom=main", "bass-loop")
        until(said, "Watchdog timeout")
        until_restarted(said)
        assert machine.shown("NRestarts") == "2"

        machine.run("systemctl", "restart", "bass-loop")
        until(said, '"event": "stopped"')
        until(said, '"event": "ready"')
        machine.run("systemctl", "stop", "bass-loop")
        assert machine.shown("Result") == "success"
