"""Thunks that attack the machine they run on, in a real sandbox and in real containers: each is contained.

Where an attack needs more than a shell, it is written in Perl, which every Debian has. Most are first made
without a sandbox, to show that they would succeed.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import socket
import subprocess
import sys
import time
import uuid
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import trio

from bassloop.runner import file_trees
from bassloop.runner.call_context import LOCAL
from bassloop.runner.container.container_driver import ContainerDriver, ContainerOptions
from bassloop.runner.errors import DriverError
from bassloop.runner.host import sandbox
from bassloop.runner.host.host_driver import HostDriver, HostOptions
from bassloop.runner.host.network import find_helpers
from bassloop.runner.options import CommandLimits
from bassloop.runner.process import join_new_keyring, run_command
from tests.until import until

from .containers.conftest import BASE
from .containers.test_end import running
from .made import IMAGE, Recorder, file, folder, in_memory, mount, path_in, sh

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

    from bassloop.runner.container.container_engine import ContainerEngine
    from bassloop.runner.engine.thunk_driver import ThunkDriver
    from bassloop.wire import bass_pb2 as pb

pytestmark = pytest.mark.containers

LIMITS = CommandLimits(memory=256 << 20, pids=64, file_size=1 << 20)
ANSWER_SECONDS = 60.0
"""Seconds that starting a program may take beside an attack, on a machine with other work."""


class Bench:
    """A driver, and what it reports."""

    def __init__(self, driver: ThunkDriver, image: pb.ThunkImage) -> None:
        self.driver = driver
        self.image = image
        self.seen = Recorder()

    async def run(self, script: str, **more: object) -> str:
        """Run a shell's script, and return what it printed. Raises DriverError."""
        thunk = sh(script, image=self.image, **more)
        return (await self.driver.run(thunk, LOCAL, self.seen)).stdout.read_text()

    async def fails(self, script: str, **more: object) -> str:
        """Run a script that must fail, and return how, with what it printed on both streams."""
        with pytest.raises(DriverError) as failed:
            await self.run(script, **more)
        return f"{failed.value}\n{self.seen.text()}{self.seen.text(2)}"


@pytest.fixture
async def sandboxed(tmp_path: Path) -> AsyncIterator[Bench]:
    """Commands in the sandbox, as strict as it gets here."""
    box = await sandbox.find(limits=LIMITS)
    assert box.filter is not None
    async with HostDriver.open(tmp_path / "state", HostOptions(sandbox=box)) as driver:
        yield Bench(driver, IMAGE)


@pytest.fixture(params=["sandboxed", "container"])
async def bench(
    request: pytest.FixtureRequest, tmp_path: Path, engine: ContainerEngine
) -> AsyncIterator[Bench]:
    """Commands in the sandbox, and in containers."""
    if request.param == "sandboxed":
        box = await sandbox.find(limits=LIMITS)
        async with HostDriver.open(tmp_path / "state", HostOptions(sandbox=box)) as driver:
            yield Bench(driver, IMAGE)
    else:
        async with ContainerDriver.open(
            tmp_path / "state", engine, ContainerOptions(limits=LIMITS)
        ) as driver:
            yield Bench(driver, BASE)


@asynccontextmanager
async def answering() -> AsyncGenerator[None]:
    """Start a program of the owner's again and again meanwhile; each has to answer in time."""
    worst = 0.0

    async def ask() -> None:
        nonlocal worst
        while True:
            began = time.monotonic()
            await trio.run_process(["true"])
            worst = max(worst, time.monotonic() - began)
            await trio.sleep(0.05)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask)
        yield
        nursery.cancel_scope.cancel()
    assert worst < ANSWER_SECONDS


# --- the network --------------------------------------------------------------------------------------


@pytest.fixture
async def listener() -> AsyncIterator[tuple[int, list[object]]]:
    """A service on this machine's loopback address: its port, and who has connected."""
    seen: list[object] = []

    async def serve(stream: trio.SocketStream) -> None:
        seen.append(stream)
        await stream.aclose()

    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, serve, listeners)
        yield listeners[0].socket.getsockname()[1], seen
        nursery.cancel_scope.cancel()


CONNECT = """perl -MSocket -e '
socket(S, PF_INET, SOCK_STREAM, 0) or die "no socket: $!";
connect(S, pack_sockaddr_in(%d, inet_aton("%s"))) or die "not reached: $!";
print "REACHED\\n"'"""


@pytest.fixture(params=["slirp4netns", "pasta"])
async def networked(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Bench]:
    """Commands in the sandbox, with each of the programs that connect their network."""
    [helper] = [each for each in find_helpers() if each.kind == request.param]
    box = replace(await sandbox.find(limits=LIMITS), helper=helper)
    async with HostDriver.open(tmp_path / "state", HostOptions(sandbox=box)) as driver:
        yield Bench(driver, IMAGE)


async def test_a_command_can_not_reach_the_machines_loopback(
    networked: Bench, tmp_path: Path, listener: tuple[int, list[object]]
) -> None:
    port, seen = listener
    async with HostDriver.open(tmp_path / "open") as driver:
        assert await Bench(driver, IMAGE).run(CONNECT % (port, "127.0.0.1")) == "REACHED\n"
    assert len(seen) == 1
    nameserver = networked.driver.options.sandbox.helper.nameserver
    gateway = (await networked.run("ip route show default")).split()[2]
    for address in ("127.0.0.1", "127.0.0.2", "0.0.0.0", gateway, nameserver):
        networked.seen.logs.clear()
        await networked.fails(f"timeout 3 {CONNECT % (port, address)}")
        assert networked.seen.text() == ""
    assert len(seen) == 1


async def test_a_container_can_not_reach_the_machines_loopback(
    bench: Bench, listener: tuple[int, list[object]]
) -> None:
    port, seen = listener
    program = "nc -w 2" if bench.image == BASE else "timeout 3 bash -c 'exec 3<>/dev/tcp/$0/$1'"
    await bench.fails(f"{program} 127.0.0.1 {port} < /dev/null")
    assert seen == []


async def test_a_command_can_reach_and_resolve_outside_addresses(
    sandboxed: Bench,
) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.254", 9))  # sends nothing: which address would be used
        address = probe.getsockname()[0]
    box = sandboxed.driver.options.sandbox
    assert (
        box.helper.kind == "slirp4netns"
    )  # with pasta, commands would have this address themselves
    listeners = await trio.open_tcp_listeners(0, host=address)

    async def serve(stream: trio.SocketStream) -> None:
        await stream.send_all(b"hello from outside\n")
        await stream.aclose()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, serve, listeners)
        port = listeners[0].socket.getsockname()[1]
        read = f"exec 3<>/dev/tcp/{address}/{port}; cat <&3"
        assert await sandboxed.run(f'timeout 120 bash -c "{read}"') == "hello from outside\n"
        nursery.cancel_scope.cancel()
    resolver = await sandboxed.run("cat /etc/resolv.conf")
    assert resolver.splitlines()[0] == f"nameserver {box.helper.nameserver}"


ABSTRACT = """perl -MSocket -e '
socket(S, PF_UNIX, SOCK_STREAM, 0) or die "no socket: $!";
connect(S, pack("Sa*", AF_UNIX, "\\0%s")) or die "not reached: $!";
print "REACHED\\n"'"""


async def test_a_command_can_not_reach_an_abstract_unix_socket_of_the_machine(
    sandboxed: Bench, tmp_path: Path
) -> None:
    name = f"bassloop-attack-{os.getpid()}"
    with trio.socket.socket(trio.socket.AF_UNIX, trio.socket.SOCK_STREAM) as server:
        await server.bind(f"\0{name}")
        server.listen()
        async with HostDriver.open(tmp_path / "open") as driver:
            assert await Bench(driver, IMAGE).run(ABSTRACT % name) == "REACHED\n"
        said = await sandboxed.fails(ABSTRACT % name)
        assert "not reached: Connection refused" in said


async def test_a_command_without_a_network_reaches_nothing(tmp_path: Path) -> None:
    box = await sandbox.find("none", LIMITS)
    async with HostDriver.open(tmp_path / "state", HostOptions(sandbox=box)) as driver:
        said = await Bench(driver, IMAGE).run("cat /proc/net/route; cat /proc/net/dev")
    interfaces = [line.split(":")[0].strip() for line in said.splitlines() if ":" in line]
    assert interfaces == ["lo"]


# --- the kernel's keyrings ----------------------------------------------------------------------------

KEYCTL, ADD_KEY = {"x86_64": (250, 248), "aarch64": (219, 217)}[os.uname().machine]
SESSION_KEYRING = -3
READ_KEY = f"""perl -e '
my ($type, $name, $text) = ("user", "bassloop-attack", "\\0" x 64);
my $key = syscall({KEYCTL}, 10, {SESSION_KEYRING}, $type, $name, 0);
die "no key: $!" if $key < 0;
my $size = syscall({KEYCTL}, 11, $key, $text, 64);
die "not read: $!" if $size < 0;
print "READ ", substr($text, 0, $size), "\\n"'"""


@pytest.fixture
def key() -> None:
    """A key in this thread's session keyring, as a login session has."""
    join_new_keyring()
    library = ctypes.CDLL(None, use_errno=True)
    added = library.syscall(
        ADD_KEY, b"user", b"bassloop-attack", b"hunter2", ctypes.c_long(7), SESSION_KEYRING
    )
    assert added > 0, os.strerror(ctypes.get_errno())
    seen = subprocess.run(READ_KEY, shell=True, capture_output=True, text=True)
    assert seen.stdout == "READ hunter2\n"


@pytest.mark.usefixtures("key")
async def test_a_command_has_a_session_keyring_of_its_own(tmp_path: Path) -> None:
    """Shown without the sandbox, whose filter would deny even to look."""
    printed = bytearray()

    async def on_bytes(stream: int, data: bytes) -> None:
        printed.extend(data)

    async def read_key(*, fresh_keyring: bool) -> str:
        printed.clear()
        await run_command(
            ["sh", "-c", READ_KEY],
            cwd=tmp_path,
            env=os.environ,
            stdin=b"",
            on_bytes=on_bytes,
            fresh_keyring=fresh_keyring,
        )
        return printed.decode()

    assert "hunter2" not in await read_key(fresh_keyring=True)
    assert "no key: Required key not available" in printed.decode()


@pytest.mark.usefixtures("key")
async def test_a_command_can_not_read_the_machines_session_keyring(sandboxed: Bench) -> None:
    said = await sandboxed.fails(READ_KEY)
    assert "hunter2" not in said
    assert "no key: Operation not permitted" in said
    assert "bassloop-attack" not in await sandboxed.run("cat /proc/keys 2>/dev/null; true")


# --- what a command may take --------------------------------------------------------------------------


async def test_a_fork_bomb_ends_at_its_limit_and_with_its_call(bench: Bench) -> None:
    """Its processes wait without starting others, which would fail at the limit and end them, too."""
    mark = f"bomb_{os.urandom(8).hex()}"
    bomb = (
        f": {mark}; mkfifo never; echo up; (while true; do (read line < never) & done); sleep 600"
    )
    most = 0
    async with answering(), trio.open_nursery() as nursery:
        nursery.start_soon(bench.fails, bomb)
        with trio.fail_after(120):
            await bench.seen.printed.wait()
        # On a busy machine, it takes a while to get there.
        ends = time.monotonic() + 3
        with trio.fail_after(120):
            while most <= LIMITS.pids // 2 or time.monotonic() < ends:
                most = max(most, len(await trio.to_thread.run_sync(running, mark)))
                await trio.sleep(0.1)
        nursery.cancel_scope.cancel()
    assert most <= LIMITS.pids + 8  # what starts the command is not counted with it
    assert running(mark) == []


MEMORY_BOMB = """perl -e '$| = 1; for (1 .. 64) { push @a, "x" x (16 << 20); print "$_\\n" }'"""


async def test_a_memory_bomb_ends_at_its_limit(sandboxed: Bench) -> None:
    async with answering():
        await sandboxed.fails(MEMORY_BOMB)
    blocks = [int(line) for line in sandboxed.seen.text().split()]
    assert max(blocks, default=0) * (16 << 20) <= LIMITS.memory


async def test_many_processes_share_the_memory_limit_of_one(bench: Bench) -> None:
    """A command is counted with all that it starts, where the machine can do that, as here."""
    holder = getattr(getattr(bench.driver, "sandbox", None), "holder", None)
    assert holder is None or "memory" in holder.whole
    one = "head -c 100000000 /dev/zero | tail -c 100000000 > /dev/null && echo whole"
    async with answering():
        await bench.fails(f"for n in 1 2 3 4 5 6; do ({one}) & done; wait; false")
    assert bench.seen.text().count("whole") < 6


async def test_a_file_bomb_ends_at_its_limit(bench: Bench) -> None:
    await bench.fails("head -c 50000000 /dev/zero > big; wc -c < big; exit 7")
    assert int(bench.seen.text()) <= LIMITS.file_size


async def assert_little_is_left(bench: Bench, folder: Path) -> None:
    """Check that what a command wrote is gone again. (How full the disk is depends on other programs, too.)"""
    assert file_trees.size(folder) < 10 << 20
    assert sum(1 for _ in folder.rglob("*")) < 1_000
    if isinstance(bench.driver, ContainerDriver):
        settings = bench.driver.settings
        words = ("ps", "--all", "--quiet", "--filter", f"label=bassloop.state={settings.owner}")
        assert await settings.engine.ask(*words) == ""


async def test_writing_many_files_ends_when_the_machines_disk_is_nearly_full(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = shutil.disk_usage(tmp_path).free
    monkeypatch.setattr(file_trees, "KEEP_FREE", free - (200 << 20))
    monkeypatch.setattr(file_trees, "KEEP_FREE_PART", 1)
    bomb = "n=0; while true; do n=$((n+1)); head -c 1000000 /dev/zero > f$n; done"
    async with answering():
        said = await bench.fails(bomb)
    assert "on the runner's machine, the disk of" in said
    assert "is nearly full" in said
    await assert_little_is_left(bench, tmp_path)


async def test_writing_empty_files_ends_when_the_machines_disk_has_hardly_any_inodes_left(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = os.statvfs(tmp_path).f_favail
    monkeypatch.setattr(file_trees, "KEEP_FREE_FILES", free - 20_000)
    monkeypatch.setattr(file_trees, "KEEP_FREE_PART", 1)
    bomb = "n=0; while true; do n=$((n+1)); : > f$n; : > /tmp/f$n; done"
    async with answering():
        said = await bench.fails(bomb)
    assert "no room for more files (inodes)" in said
    await assert_little_is_left(bench, tmp_path)


async def test_every_write_to_memory_counts_towards_the_limit(sandboxed: Bench) -> None:
    for place in ("/x", "/dev/x", "/bass/x", "/usr/x", "/etc/x", "/proc/x"):
        assert "cannot touch" in await sandboxed.fails(f"touch {place}")
    assert await sandboxed.run("touch /tmp/x /var/tmp/y /run/z /dev/shm/w ~/v; ls /tmp") == "x\ny\n"


# --- system calls -------------------------------------------------------------------------------------


async def test_namespaces_mounts_and_risky_system_calls_are_denied(sandboxed: Bench) -> None:
    calls = {
        "x86_64": {"unshare": (272, 0x10000000), "mount": (165, 0), "bpf": (321, 0),
                   "io_uring_setup": (425, 1), "userfaultfd": (323, 0), "perf_event_open": (298, 0)},
        "aarch64": {"unshare": (97, 0x10000000), "mount": (40, 0), "bpf": (280, 0),
                    "io_uring_setup": (425, 1), "userfaultfd": (282, 0), "perf_event_open": (241, 0)},
    }[os.uname().machine]  # fmt: skip
    words = " ".join(f"{name} {number} {flags}" for name, (number, flags) in calls.items())
    script = (
        "perl -e 'while (my ($name, $number, $flags) = splice @ARGV, 0, 3) {"
        " my $result = syscall($number + 0, $flags + 0, 0, 0, 0, 0);"
        ' print "$name: ", ($result < 0 ? $! : "DONE"), "\\n" }\' ' + words
    )
    said = await sandboxed.run(script)
    assert said.splitlines() == [f"{name}: Operation not permitted" for name in calls]


TYPE_INTO_TERMINAL = """perl -MPOSIX -e '
if (fork) { wait(); exit($? != 0) }
$SIG{HUP} = "IGNORE";
setsid();
open(my $master, "+<", "/dev/ptmx") or die "no terminal: $!";
my $number = my $unlocked = pack("i", 0);
ioctl($master, 0x40045431, $unlocked) && ioctl($master, 0x80045430, $number) or die "no terminal: $!";
open(my $terminal, "+<", "/dev/pts/" . unpack("i", $number)) or die "not open: $!";
ioctl($terminal, 0x540E, 0);
my $key = "x";
for (0x5412, 0x541C) { print ioctl($terminal, $_, $key) ? "TYPED\\n" : "$!\\n" }'"""
"""Types into a terminal of its own, and pastes; the kernel would let a command do it to the owner's, if it got that."""


async def test_a_command_can_not_type_into_a_terminal(sandboxed: Bench, tmp_path: Path) -> None:
    async with HostDriver.open(tmp_path / "open") as driver:
        typed, _ = (await Bench(driver, IMAGE).run(TYPE_INTO_TERMINAL)).splitlines()
    assert typed in ("TYPED", "Input/output error")  # where dev.tty.legacy_tiocsti is 0
    said = await sandboxed.run(TYPE_INTO_TERMINAL)
    assert said.splitlines() == ["Operation not permitted"] * 2


async def test_a_command_has_no_terminal_of_the_machine(bench: Bench) -> None:
    said = await bench.run("(: > /dev/tty) 2>&1; ls /dev/pts")
    assert said.splitlines()[0].endswith("/dev/tty: No such device or address")
    assert said.splitlines()[1:] == ["ptmx"]


async def test_the_machines_settings_are_read_only(sandboxed: Bench) -> None:
    mounts = await sandboxed.run("cat /proc/self/mountinfo")
    fields = [line.split() for line in mounts.splitlines()]
    [options] = {each[5] for each in fields if len(each) > 5 and each[4] == "/proc/sys"}
    assert "ro" in options.split(",")
    writing = (
        "cd /proc/sys/kernel; cat core_pattern 2>/dev/null >core_pattern && echo written; true"
    )
    assert "written" not in await sandboxed.run(writing)


async def test_a_command_can_start_threads_and_processes(sandboxed: Bench) -> None:
    if (python := shutil.which("python3", path="/usr/bin:/bin")) is None:
        python = sys.executable
    lines = "import threading; t = threading.Thread(target=print, args=[1]); t.start(); t.join()"
    assert await sandboxed.run(f"test -x {python} || exit 9; {python} -c '{lines}'") == "1\n"


async def test_a_command_has_no_descriptor_agent_or_socket_of_the_runner(
    sandboxed: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSH_AUTH_SOCK", "/run/agent.sock")
    monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", "unix:path=/run/bus")
    left, right = socket.socketpair()
    with left, right:
        left.set_inheritable(True)
        said = await sandboxed.run("echo /proc/self/fd/*; env; find / -xdev -type s 2>/dev/null; :")
    first, *rest = said.splitlines()
    assert {int(each.rpartition("/")[2]) for each in first.split()} <= {0, 1, 2, 3}
    assert not any("agent.sock" in line or "bus" in line for line in rest)


async def test_a_command_has_no_capability(sandboxed: Bench) -> None:
    said = await sandboxed.run("grep -E '^(Cap|NoNewPrivs|Seccomp:)' /proc/self/status")
    values = dict(line.split(":\t") for line in said.splitlines())
    assert {int(values.pop(name), 16) for name in list(values) if name.startswith("Cap")} == {0}
    assert values == {"NoNewPrivs": "1", "Seccomp": "2"}


async def test_a_command_sees_no_process_but_its_own(sandboxed: Bench) -> None:
    said = await sandboxed.run("echo /proc/[0-9]*; kill -9 1 2>&1; echo still here")
    assert len(said.splitlines()[0].split()) < 8
    assert "still here" in said


LEAVE_SESSION = """
(setsid sh -c 'trap "" HUP INT TERM; : >left; exec sleep %s' </dev/null >/dev/null 2>&1 &)
until [ -e left ]; do sleep 0.1; done
"""
"""Leaves a process that has no session, parent or descriptor of the command's, and ignores signals."""


@pytest.mark.parametrize("fails", [False, True], ids=["succeeds", "fails"])
async def test_a_process_that_has_left_its_session_ends_with_its_command(
    bench: Bench, fails: bool
) -> None:
    seconds = f"1{uuid.uuid4().int % 10**12}.5"
    script = LEAVE_SESSION % seconds
    if fails:
        assert "exit status 3" in await bench.fails(f"{script}\nexit 3")
    else:
        await bench.run(script)

    def is_left() -> bool:
        return any(_arguments(each) == ["sleep", seconds] for each in Path("/proc").glob("[0-9]*"))

    with trio.fail_after(ANSWER_SECONDS):
        await until(lambda: not is_left())


def _arguments(process: Path) -> list[str]:
    """Return the arguments of a process in /proc; none if it has ended."""
    try:
        return (process / "cmdline").read_text().split("\0")[:-1]
    except OSError:
        return []


# --- files --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("link", ["x", "x/y"])
async def test_nothing_on_the_machine_is_created_through_a_link_in_a_mount(
    sandboxed: Bench, tmp_path: Path, link: str
) -> None:
    """bubblewrap makes the places of mounts, and follows links on the way there, out of the sandbox."""
    outside = tmp_path / "outside"
    outside.mkdir()
    made = sh(f"mkdir -p d/$(dirname {link}); ln -s /oldroot{outside} d/{link}")
    mounts = [
        mount(path_in(made, folder("d")), folder("/data")),
        mount(in_memory("name", {"a": b"1"}), folder(f"/data/{link}/planted")),
    ]
    await sandboxed.fails("ls /data", mounts=mounts)
    assert list(outside.iterdir()) == []


async def test_a_mount_within_a_mount_works(sandboxed: Bench) -> None:
    mounts = [
        mount(in_memory("outer", {"a": b"1"}), folder("/data")),
        mount(in_memory("inner", {"b": b"2"}), folder("/data/deep/in")),
        mount(in_memory("file", b"3"), file("/data/deep/f")),
    ]
    assert await sandboxed.run("cat /data/a /data/deep/in/b /data/deep/f", mounts=mounts) == "123"
