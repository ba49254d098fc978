"""The daemon makes no system call that its unit forbids, from its start to its end."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import httpx
import pytest

from tests.daemon.certificates import write_certificate

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

from bassloop.tools.setup.systemd import ServeFacts, serve_unit
from tests.keys import APP

pytestmark = pytest.mark.systemd

UNIT = serve_unit(ServeFacts(("x",)))


LOCKS_IN = {
    "capset",
    "chroot",
    "mount",
    "pivot_root",
    "setgroups",
    "setresgid",
    "setresuid",
    "umount2",
    "unshare",
}
"""With these the program that evaluates hooks locks itself in, as far as it may."""


def calls_of(group: str) -> set[str]:
    """The system calls of one of systemd's groups."""
    command = ["systemd-analyze", "syscall-filter", "--no-pager", group]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    names = [line.strip() for line in said.splitlines()[1:]]
    found: set[str] = set()
    for name in names:
        if name.startswith("@"):
            found |= calls_of(name)
        elif name and not name.startswith("#"):
            found.add(name)
    return found


def allowed() -> set[str]:
    """The calls that the unit's filters leave."""
    left: set[str] = set()
    for line in re.findall(r"^SystemCallFilter=(.*)$", UNIT, re.M):
        groups = line.removeprefix("~").split()
        named = set().union(
            *(calls_of(each) if each.startswith("@") else {each} for each in groups)
        )
        left = left - named if line.startswith("~") else left | named
    return left


@pytest.fixture(scope="module")
def trace(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A daemon's life, as strace saw it."""
    folder = tmp_path_factory.mktemp("traced")
    return "\n".join(lived(folder))


def lived(folder: Path) -> Iterator[str]:
    chain, key, where = folder / "chain.pem", folder / "key.pem", folder / "notify"
    write_certificate(chain, key, "loop")
    env = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": os.pathsep.join(sys.path),
        "BASSLOOP_SETTINGS": str(folder / "none.env"),
        "DATA_DIR": str(folder / "data"),
        "LISTEN": "127.0.0.1:0",
        "SSH_ADDR": "127.0.0.1:0",
        "TLS_CERT_PATH": str(chain),
        "TLS_KEY_PATH": str(key),
        "METRICS_TOKEN": "s3cret",
        "NOTIFY_SOCKET": str(where),
        # With an App, so that the program that evaluates hooks runs; nothing listens where GitHub is.
        "GITHUB_API_URL": "http://127.0.0.1:9",
        "GITHUB_APP_ID": "1",
        "GITHUB_APP_PRIVATE_KEY": APP.private,
        "GITHUB_APP_WEBHOOK_SECRET": "secret",
    }
    command = ["strace", "-f", "-qq", "-o", str(folder / "trace"), sys.executable]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(where))
        listening.settimeout(600)
        with subprocess.Popen(
            [*command, "-m", "bassloop", "serve"], env=env, stderr=subprocess.PIPE, text=True
        ) as daemon:
            assert daemon.stderr is not None
            log = until(daemon.stderr, "ready")
            until(daemon.stderr, "ready to evaluate hooks")
            while listening.recv(4096) != b"READY=1":
                pass
            url = re.search(r'"url": "([^"]+)"', log)
            ssh = re.search(r'"ssh": "127.0.0.1:(\d+)"', log)
            assert url
            assert ssh
            with httpx.Client(verify=False, timeout=240) as client:
                for path in ("/", "/up", "/runs", "/openapi.json"):
                    assert client.get(url[1] + path).status_code == 200, path
                assert client.get(f"{url[1]}/ready").status_code in (200, 503)
                headers = {"Authorization": "Bearer s3cret"}
                assert client.get(f"{url[1]}/metrics", headers=headers).status_code == 200
            with socket.create_connection(("127.0.0.1", int(ssh[1])), timeout=240) as runner:
                runner.sendall(b"SSH-2.0-test\r\n")
                assert runner.recv(100).startswith(b"SSH-2.0-bassloop")
            [child] = children(daemon.pid)
            os.kill(child, signal.SIGHUP)
            while listening.recv(4096) != b"READY=1":
                pass
            os.kill(child, signal.SIGTERM)
            daemon.stderr.read()
            assert daemon.wait(240) == 0
    return iter((folder / "trace").read_text().splitlines())


def until(stream: Iterator[str], event: str) -> str:
    """The first log line of an event."""
    for line in stream:
        if f'"event": "{event}"' in line:
            return line
    raise AssertionError(event)


def children(pid: int) -> list[int]:
    with open(f"/proc/{pid}/task/{pid}/children") as file:
        return [int(each) for each in file.read().split()]


def test_the_daemon_makes_no_system_call_that_its_filters_deny(trace: str) -> None:
    made = set(re.findall(r"^\d+ +(?:<\.\.\. )?(\w+)[ (]", trace, re.M)) - {"resumed"}
    assert {"epoll_wait", "fdatasync"} & made, "the daemon was traced"
    for_root_only = {"fchown"}  # SQLite, so that root's journal stays its database's owner's
    left = made - allowed() - LOCKS_IN
    assert left - (for_root_only if os.geteuid() == 0 else set()) == set()


def test_no_memory_of_the_daemon_is_writable_and_executable(trace: str) -> None:
    """MemoryDenyWriteExecute: neither at once, nor executable later."""
    assert not re.findall(r"^.*mmap\(.*PROT_WRITE[^,]*PROT_EXEC.*$", trace, re.M)
    assert not re.findall(r"^.*mprotect\(.*PROT_EXEC.*$", trace, re.M)


def test_the_daemon_has_no_socket_of_another_family(trace: str) -> None:
    """RestrictAddressFamilies; a refused AF_NETLINK is one that the C library does without."""
    [line] = re.findall(r"^RestrictAddressFamilies=(.*)$", UNIT, re.M)
    families = set(re.findall(r"socket\((AF_\w+)", trace)) - {"AF_NETLINK"}
    assert families
    assert families <= set(line.split())


def test_the_daemon_creates_no_namespace(trace: str) -> None:
    """RestrictNamespaces; the program that evaluates hooks tries it, and does without."""
    made = re.findall(r"^.*(?:CLONE_NEW\w+|\bsetns\().*$", trace, re.M)
    assert [line for line in made if " unshare(" not in line] == []
