"""The fork server: `python -P -m bassloop.evaluator.fork_server CPU_SECONDS MEMORY`, with its socket as standard input.

It imports the language, evaluates a hook to warm up, confines itself, and reports that it is ready. For each socket
that it receives, it forks a process that evaluates one hook over it, and reports how that process ended. It keeps a
descriptor of each of these sockets: when the daemon closes the other end, for any reason, the process is killed. When
the daemon goes away, so do the server and all of its processes.

It has one thread and no event loop, and decodes nothing that hooks' processes send.

There are two forms of hooks. A module's `github-hook` is called with the event and a client; a script's `main` reads
the event from `*stdin*`, with the client bound to `*loop*`. Both start checks with the client's `start-check`.
"""

from __future__ import annotations

import gc
import json
import os
import pkgutil
import select
import signal
import socket
import sys
import traceback
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from bassloop import bass
from bassloop.evaluator.confinement import (
    ON_LINUX,
    ProcessLimits,
    address_space,
    limit_process,
    lock_in,
    probe,
    use_reserve,
)
from bassloop.evaluator.daemon_link import DaemonGone, Link
from bassloop.evaluator.messages import (
    Crashed,
    Describe,
    Ended,
    Ending,
    Evaluated,
    Failed,
    Fork,
    Message,
    MessageReader,
    OutOfMemory,
    Ready,
    as_text,
    frames,
)
from bassloop.evaluator.remote_host import RemoteHost, Tree, encode_thunk
from bassloop.evaluator.thunk_description import describe
from bassloop.repository_files import MISSING_HOOK

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from bassloop.evaluator.messages import Evaluate


_LONGEST_MESSAGE: Final = 64 << 10
_LONGEST_REPORT: Final = 256 << 10

_READ: Final = 4_096
_MOST_SOCKETS: Final = 64
"""The maximum number of sockets received in one read."""

_NEEDS_TRIO: Final = "bassloop.bass.trio_driver"

_NICENESS: Final = 10
"""The niceness of hooks, so that the daemon, which answers webhooks, gets the CPU first."""

_MEMORY_UNIT: Final = 1024 if ON_LINUX else 1
"""The unit of `ru_maxrss`, in bytes."""


def read_event(name: str, payload: bytes, edit: str) -> bass.Value:
    """Return the event that a hook is called with. Raises BassError for a payload that can't be read."""
    try:
        event = json.loads(payload)
        if edit:
            name, event = EDITS[edit](event)
        return bass.from_python({"event": name, "payload": event})
    except RecursionError as error:
        raise bass.BassError("the event's payload is nested too deep") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise bass.BassError(f"the event's payload can't be read: {error}") from error


def _as_check_rerun(payload: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """The event of GitHub's own button to run a check again, for the same button of the loop's."""
    payload = {name: part for name, part in payload.items() if name != "requested_action"}
    return "check_run", {**payload, "action": "rerequested"}


def _as_suite_rerun(payload: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """The event that asks for all checks of a head again, for one that asks for a check that no script knows."""
    check = payload["check_run"]
    suite = {**(check.get("check_suite") or {}), "head_sha": check["head_sha"]}
    rest = {
        name: part
        for name, part in payload.items()
        if name not in ("check_run", "requested_action")
    }
    return "check_suite", {**rest, "action": "rerequested", "check_suite": suite}


EDITS: Final[dict[str, Callable[[dict[str, Any]], tuple[str, dict[str, Any]]]]] = {
    "check rerun": _as_check_rerun,
    "suite rerun": _as_suite_rerun,
}
"""The changes to a payload that the daemon may ask for before a hook is called."""


def serve_one(connection: socket.socket) -> None:
    """Do what the daemon asks for on a socket, and report how that ended."""
    link = Link(connection)
    try:
        link.send(_answer(link))
    except DaemonGone:
        return


def _answer(link: Link) -> Ending:
    try:
        request = link.first()
        if isinstance(request, Describe):
            return describe(request.content)
        link.fibers.run(_evaluate(link, request))
    except bass.BassError as error:
        return _failed(error)
    except DaemonGone:
        raise
    except MemoryError:
        use_reserve()
        return OutOfMemory()
    except BaseException as error:  # noqa: BLE001 - told to the daemon
        trace = "".join(traceback.format_exception(error))
        return Crashed(
            as_text(f"{type(error).__name__}: {error}")[:_LONGEST_MESSAGE],
            as_text(trace)[-_LONGEST_MESSAGE:],
        )
    return Evaluated()


def _failed(error: bass.BassError) -> Failed:
    message, report = as_text(error.message), as_text(bass.render(error))
    return Failed(message[:_LONGEST_MESSAGE], report[:_LONGEST_REPORT])


async def _evaluate(link: Link, request: Evaluate) -> None:
    host = RemoteHost(link)
    # The kernel limits its memory and time, so its steps don't have to be counted.
    budget = bass.Budget(steps=sys.maxsize, output=request.output, setting="HOOK_{}")
    session = bass.Session(host, link.fibers, budget)
    client = _client(session, host)
    event = read_event(request.event, request.content, request.edit)
    folder = request.path.rpartition("/")[0] or "."
    directory = bass.repository_dir(Tree(link, request.tree), bass.DirPath(folder))
    if request.module:
        module = await session.load(request.source, request.path, directory)
        hook = bass.binding(module, "github-hook", request.path, MISSING_HOOK)
        await session.call(hook, event, client)
    else:
        await session.run_script(
            request.source,
            request.path,
            directory=directory,
            stdin=[event],
            bindings={"*loop*": client},
        )
    await session.wait()


def _client(session: bass.Session, host: RemoteHost) -> bass.Scope:
    """Return the client that a hook is called with: a scope with `start-check`.

    `start-check-with`, which other loops don't have, also takes options: a scope with `:after`, the names of
    checks that must have succeeded first, and `:limit`, in seconds.
    """

    async def start(
        thunk: bass.Value, name: bass.Value, sha: bass.Value, options: bass.Value = None
    ) -> bass.Value:
        if not (isinstance(thunk, bass.Thunk) and isinstance(name, str) and isinstance(sha, str)):
            given = " ".join(bass.show(value)[:100] for value in (thunk, name, sha))
            raise bass.BassError(f"start-check takes a thunk, a name and a head, not {given}")
        after, limit = _options(options)
        await bass.read_files(thunk)
        wait = await host.start_check(encode_thunk(thunk), name, sha, after, limit)
        return bass.builtin(f"wait-{name}", "[]", wait)

    return bass.scope(
        {
            "start-check": bass.builtin("start-check", "[thunk name sha]", start),
            "start-check-with": bass.builtin("start-check-with", "[thunk name sha options]", start),
        }
    )


def _options(options: bass.Value) -> tuple[Sequence[str], float | None]:
    """Return the options of a check: what it needs, and its limit in seconds."""
    given = {} if options is None else bass.to_python(options)
    if not isinstance(given, dict):
        raise bass.BassError(f"a check's options are a scope, not {bass.show(options)[:100]}")
    after, limit = given.get("after") or (), given.get("limit")
    if not isinstance(after, list | tuple) or not all(isinstance(name, str) for name in after):
        raise bass.BassError("a check's :after is a list of names")
    if limit is not None and (not isinstance(limit, int) or isinstance(limit, bool) or limit <= 0):
        raise bass.BassError("a check's :limit is a number of seconds, at least 1")
    return after, limit


@dataclass(frozen=True, slots=True)
class _Process:
    """A forked process, and our descriptor of its socket."""

    job: int
    pid: int
    connection: socket.socket


class ForkServer:
    """Forks processes, kills those whose sockets were closed, and reports how each ended."""

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
                # In this order: new sockets are watched before those of ended processes are closed, or a new one could
                # have the number of an old one.
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
            send(self._control, Ended(message.job, os.EX_OSERR << 8, 0.0, 0))
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


_WARM: Final = """
(use (.github))
(defn checks [source]
  {:test (from {:repository "image" :tag "1" :platform {:os "linux"}} (cd source ($ sh test.sh)))})
(defn github-hook [event client]
  (let [*loop* client]
    (github:check-hook event (fn [url sha] (subpath ($ git clone url sha) ./)) checks)))
"""


class _Nothing(bass.Host):
    """A host that has nothing to give."""

    def log(self, message: str, fields: Mapping[str, Any]) -> None:
        """Let it go."""

    def write_error(self, text: str) -> None:
        """Let it go."""


def warm() -> None:
    """Import the language and evaluate a hook, so that everything a hook needs is loaded, in shared memory.

    Nothing can be imported after the process is confined, since it has no files any more.
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
        session = bass.immediate_session(_Nothing())
        module = await session.load(_WARM, "project.bass", None)
        client = bass.scope({"start-check": bass.builtin("start-check", "[thunk name sha]", start)})
        github_hook = bass.binding(module, "github-hook", "project.bass")
        await session.call(github_hook, bass.from_python(event), client)

    bass.run_now(hook())
    describe(started[0])


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
    found = lock_in()
    probe(found, limits, base)
    send(control, Ready(tuple(found.layers), tuple(found.missing)))
    ForkServer(control, limits, base).run()


if __name__ == "__main__":
    main()
