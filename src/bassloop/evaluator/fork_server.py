"""The fork server: `python -P -m bassloop.evaluator.fork_server CPU_SECONDS MEMORY`, with its socket as standard input.

It imports the language, evaluates a hook to warm up (`rehearse`), confines itself, and reports that it is ready.
For each socket that it receives, it forks a process that evaluates one hook over it (`hook_evaluation.py`), and reports
how that process ended. It keeps a descriptor of each of these sockets: when the daemon closes the other end, for any
reason, the process is killed. When the daemon goes away, so do the server and all of its processes.

It has one thread, and polls its descriptors without a framework, whose event loop wouldn't work in a forked process. It
decodes the daemon's messages, and nothing that hooks' processes send.
"""

from __future__ import annotations

import gc
import os
import pkgutil
import select
import signal
import socket
import sys
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Final

from bassloop import bass
from bassloop.evaluator.confinement import (
    ON_LINUX,
    ProcessLimits,
    address_space,
    limit_process,
    lock_in,
    probe,
)
from bassloop.evaluator.hook_evaluation import serve_one
from bassloop.evaluator.messages import (
    NOT_FORKED,
    Ended,
    Fork,
    Message,
    MessageReader,
    Ready,
    frames,
)
from bassloop.evaluator.remote_host import encode_thunk
from bassloop.evaluator.thunk_description import describe

if TYPE_CHECKING:
    from collections.abc import Callable


_READ: Final = 4_096
_MOST_SOCKETS: Final = 64
"""The maximum number of sockets received in one read."""

_NICENESS: Final = 10
"""The niceness of hooks, so that the daemon, which answers webhooks, gets the CPU first."""

_MEMORY_UNIT: Final = 1024 if ON_LINUX else 1
"""The unit of `ru_maxrss`, in bytes."""

_NEEDS_TRIO: Final = "bassloop.bass.trio_driver"

_TYPICAL_HOOK: Final = """
(use (.github))
(defn checks [source]
  {:test (from {:repository "image" :tag "1" :platform {:os "linux"}} (cd source ($ sh test.sh)))})
(defn github-hook [event client]
  (let [*loop* client]
    (github:check-hook event (fn [url sha] (subpath ($ git clone url sha) ./)) checks)))
"""


def main() -> None:
    """Serve on the socket that is standard input, until it is closed."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # meant for the daemon, which may want to drain first
    with suppress(OSError):
        os.nice(_NICENESS)
    limits = ProcessLimits(float(sys.argv[1]), int(sys.argv[2]))
    control = socket.socket(fileno=os.dup(0))
    control.set_inheritable(False)
    with open(os.devnull, "r+b", buffering=0) as nothing:
        for standard in (0, 1):
            os.dup2(nothing.fileno(), standard)
    warm()
    base = address_space()
    confinement = lock_in()
    probe(confinement, limits, base)
    send(control, Ready(tuple(confinement.layers), tuple(confinement.missing)))
    ForkServer(control, limits, base).run()


@dataclass(frozen=True, slots=True)
class _Process:
    """A forked process, and our descriptor of its socket."""

    job: int
    pid: int
    connection: socket.socket


class ForkServer:
    """Forks processes, kills those whose sockets were closed, and reports how each ended.

    Args:
        base: the address space of this process, in bytes, which each process's limit on memory is added to.
    """

    def __init__(self, control: socket.socket, limits: ProcessLimits, base: int) -> None:
        self._control = control
        self._limits = limits
        self._base = base
        self._reader: MessageReader[Fork] = MessageReader(Fork)
        self._connections: list[socket.socket] = []
        self._processes: dict[int, _Process] = {}
        self._poll = select.poll()
        self._actions: dict[int, Callable[[], None]] = {}

    def run(self) -> None:
        """Serve until the daemon closes the control socket; then kill the remaining processes."""
        woken, wakes = socket.socketpair()
        wakes.setblocking(False)
        signal.set_wakeup_fd(wakes.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda number, frame: None)
        self._watch(self._control, select.POLLIN, self._receive)
        self._watch(woken, select.POLLIN, lambda: self._reap(woken))
        try:
            while True:
                # poll() reports descriptors in the order of their registration. So new sockets arrive before `_reap`
                # closes those of ended processes. Otherwise a new one could get the number of an old one, whose event
                # in this round would then kill the new process.
                for descriptor, _ in self._poll.poll():
                    if (action := self._actions.get(descriptor)) is not None:
                        action()
        except (_ControlClosed, BrokenPipeError, ConnectionResetError):
            return
        finally:
            for process in self._processes.values():
                os.kill(process.pid, signal.SIGKILL)

    def _watch(self, connection: socket.socket, events: int, action: Callable[[], None]) -> None:
        """Call a function when one of these events happens, or the other end is closed."""
        self._poll.register(connection, events)
        self._actions[connection.fileno()] = action

    def _unwatch(self, connection: socket.socket) -> None:
        if self._actions.pop(connection.fileno(), None) is not None:
            self._poll.unregister(connection)

    def _receive(self) -> None:
        """Fork a process for each socket that has arrived."""
        data, descriptors, _, _ = socket.recv_fds(self._control, _READ, _MOST_SOCKETS)
        if not data:
            raise _ControlClosed
        self._connections += (socket.socket(fileno=descriptor) for descriptor in descriptors)
        for message in self._reader.feed(data):
            self._fork(message, self._connections.pop(0))

    def _fork(self, message: Fork, connection: socket.socket) -> None:
        try:
            pid = os.fork()
        except OSError:  # too many processes, or too little memory
            connection.close()
            send(self._control, Ended(message.job, NOT_FORKED, 0.0, 0))
            return
        if pid == 0:
            status = 1
            try:
                signal.set_wakeup_fd(-1)
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                limited = limit_process(self._limits, self._base, connection)
                if message.ahead:
                    rehearse()
                serve_one(limited)
                status = 0
            finally:
                os._exit(status)
        process = self._processes[pid] = _Process(message.job, pid, connection)
        self._watch(connection, 0, lambda: self._kill(process))

    def _kill(self, process: _Process) -> None:
        """Kill a process whose socket the daemon has closed."""
        self._unwatch(process.connection)
        os.kill(process.pid, signal.SIGKILL)

    def _reap(self, woken: socket.socket) -> None:
        """Report the processes that have ended."""
        woken.recv(_READ)
        while self._processes:
            pid, status, usage = os.wait4(-1, os.WNOHANG)
            if pid == 0:
                return
            process = self._processes.pop(pid)
            self._unwatch(process.connection)
            process.connection.close()
            cpu_seconds = usage.ru_utime + usage.ru_stime
            memory = usage.ru_maxrss * _MEMORY_UNIT
            send(self._control, Ended(process.job, status, cpu_seconds, memory))


class _ControlClosed(Exception):
    """Stop serving: the daemon has closed the control socket."""


def send(control: socket.socket, message: Message) -> None:
    """Send a message to the daemon."""
    for data in frames(message):
        control.sendall(data)


# --- before the first hook ---


def warm() -> None:
    """Import the language and evaluate a hook, so that all that hooks use is loaded into memory that processes share.

    Nothing can be imported once the server is confined, because it can't open files then.
    """
    for module in pkgutil.walk_packages(bass.__path__, "bassloop.bass."):
        if module.name != _NEEDS_TRIO:
            import_module(module.name)
    rehearse()
    gc.collect()
    gc.freeze()


def rehearse() -> None:
    """Evaluate a typical hook.

    A forked process shares its memory with the server until it writes to it, and evaluating writes everywhere. A
    process that has time for this makes its copies before its hook arrives.
    """
    event = {
        "event": "check_suite",
        "payload": {
            "action": "requested",
            "repository": {"clone_url": "https://example.com"},
            "check_suite": {"head_sha": "0" * 40},
        },
    }
    started: list[bytes] = []

    def start(thunk: bass.Value, name: bass.Value, sha: bass.Value) -> bass.Value:
        assert isinstance(thunk, bass.Thunk)
        started.append(encode_thunk(thunk))
        return None

    async def hook() -> None:
        session = bass.immediate_session(bass.Host())
        module = await session.load(_TYPICAL_HOOK, "project.bass", None)
        client = bass.scope({"start-check": bass.builtin("start-check", "[thunk name sha]", start)})
        github_hook = bass.binding(module, "github-hook", "project.bass")
        await session.call(github_hook, bass.from_python(event), client)

    bass.run_now(hook())
    describe(started[0])


if __name__ == "__main__":
    main()
