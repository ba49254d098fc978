"""A runner under a service manager: it hears that the runner is there, what it does, and its end."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import asyncssh

if TYPE_CHECKING:
    from pathlib import Path


def test_the_service_manager_is_notified_of_a_runners_stages(tmp_path: Path) -> None:
    where = tmp_path / "notify"
    env = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "PYTHONPATH": os.pathsep.join(sys.path),
        "NOTIFY_SOCKET": str(where),
        "WATCHDOG_USEC": "1000000",
    }
    with socket.create_server(("127.0.0.1", 0)) as gone:
        loop = f"octocat@127.0.0.1:{gone.getsockname()[1]}"
    identity = tmp_path / "id"
    identity.touch(mode=0o600)
    identity.write_bytes(asyncssh.generate_private_key("ssh-ed25519").export_private_key())
    options = [
        "--identity",
        str(identity),
        "--driver",
        "host",
        "--unsandboxed",
        "--state-dir",
        str(tmp_path / "state"),
    ]
    command = [sys.executable, "-m", "bassloop", "runner", loop, *options]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(where))
        listening.settimeout(120)
        with subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL) as runner:
            try:
                wanted = ["READY=1", "STATUS=connecting to", "WATCHDOG=1"]
                while wanted:
                    said = listening.recv(4096).decode()
                    wanted = [each for each in wanted if not said.startswith(each)]
                runner.send_signal(signal.SIGTERM)
                while not listening.recv(4096).decode().startswith("STOPPING=1"):
                    pass
                assert runner.wait(120) == 0
            finally:
                runner.kill()
