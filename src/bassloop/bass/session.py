"""A session: a running script, the modules that it loads, and the thunks that it starts.

They share a budget and a host. The driver determines what runs concurrently.
"""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Final, Protocol

import greenlet

from bassloop.bass.builtins import ground, internal
from bassloop.bass.combiner import Applicative, Builtin, ErrorValue, call
from bassloop.bass.compile.code import code
from bassloop.bass.errors import BassError, EndOfSource, Exhausted, brief, wrong_type
from bassloop.bass.filesystem import FSPath, MemoryFiles
from bassloop.bass.json import encode
from bassloop.bass.machine import Budget, Machine, Meter, drive
from bassloop.bass.path import CommandPath, DirPath, FilePath, HostPath
from bassloop.bass.printer import show
from bassloop.bass.reader import Reader
from bassloop.bass.source_text import SourceText
from bassloop.bass.stream import Collected, ListSource, Sink, Source, TarDecoder
from bassloop.bass.thunk import Thunk, ThunkPath
from bassloop.bass.values import EMPTY, MISSING, Scope, Value, WithMeta, end_of, strip, text_of
from bassloop.bass.wire.digest import thunk_digest
from bassloop.bass.wire.encode import read_files

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping

    from bassloop.bass.host import ByteStream, Host
    from bassloop.bass.memo_file import MemoKey
    from bassloop.bass.path import Path
    from bassloop.wire import bass_pb2 as pb

MAX_SOURCE: Final = 16 << 20
"""The maximum size of a script, in bytes."""


class Task(Protocol):
    """A background task."""

    async def wait(self) -> None:
        """Wait until the task has ended, whether it succeeded or failed."""


class SessionEvent(Protocol):
    """An event that any number of coroutines may wait for. It is set once."""

    def set(self) -> None:
        """Resume those who wait. From now on, `wait` returns at once."""

    async def wait(self) -> None:
        """Wait until it is set."""


class SessionDriver(Protocol):
    """Runs a session's coroutines: under Trio, or without an event loop (`embedding.Immediate`)."""

    async def checkpoint(self) -> None:
        """Let other tasks run."""

    def spawn(self, work: Callable[[], Awaitable[None]]) -> Task:
        """Start a background task, which is cancelled with the session."""

    def open(self, stream: ByteStream) -> Callable[[], Awaitable[bytes]]:
        """Read a stream in a task of its own. Return a function that returns the next piece, b"" at the end."""

    def event(self) -> SessionEvent:
        """Return a new event. Only called while there is more than one fiber."""


class Session:
    """Evaluates scripts. Its coroutines raise `BassError` for errors of scripts, and `Exhausted` above the budget.

    Cancelling a coroutine cancels what it evaluates. The session stays usable.
    """

    def __init__(self, host: Host, driver: SessionDriver, budget: Budget | None = None) -> None:
        self.host = host
        self.meter = Meter(budget or Budget())
        self.machine = Machine(self, host, self.meter, ground())
        self.written_memos: dict[tuple[str, str], list[tuple[MemoKey, pb.Value]]] = {}
        self._driver = driver
        self._modules: dict[str, Scope] = {}
        self._loading: dict[str, _Loading] = {}
        self._blocked: dict[greenlet.greenlet, _Loading] = {}
        self._started: list[_StartedThunk] = []

    # --- for embedding programs ---

    async def load(self, source: str, name: str, directory: Value) -> Scope:
        """Evaluate a module's text, and return its scope. `name` is for messages, and `directory` becomes `*dir*`."""
        scope = self.scope(directory)
        await self._drive(lambda: self._evaluate(SourceText(source, name), scope))
        return scope

    async def evaluate(
        self,
        source: str,
        name: str,
        directory: Value,
        *,
        scope: Scope | None = None,
        file: Value = None,
    ) -> Value:
        """Return the value of a text's last form, evaluated in a scope of its own or a given one.

        `file` is the value of `:file` in the metadata of definitions, by default the name.
        """
        inner = self.scope(directory) if scope is None else scope
        return await self._drive(lambda: self._evaluate(SourceText(source, name, file), inner))

    async def call(self, combiner: Value, *arguments: Value) -> Value:
        """Call a combiner with arguments."""
        return await self._drive(lambda: call(combiner, list(arguments), self.machine))

    async def run_script(
        self,
        source: str,
        name: str,
        *,
        directory: Value,
        stdin: Iterable[Value] | Source = (),
        env: Scope | None = None,
        bindings: Mapping[str, Value] | None = None,
        arguments: Iterable[Value] = (),
        stdout: Sink | None = None,
        file: Value = None,
    ) -> None:
        """Evaluate a script's text, then call its `main` with the arguments."""
        scope = self.scope(directory, stdin=stdin, env=env, stdout=stdout, bindings=bindings)

        def work() -> Value:
            self._evaluate(SourceText(source, name, file), scope)
            return call(scope.get("main"), list(arguments), self.machine)

        await self._drive(work)

    async def call_in(self, module: Thunk, name: str, arguments: Value) -> Value:
        """Call the function that a module binds to a name with a list of arguments. The module is loaded once."""

        def work() -> Value:
            function = self.module(module, self.machine).get(name)
            if function is MISSING:
                raise BassError(f"{module.cmdline()} does not bind {name}")
            members: list[Value] = []
            if end_of(arguments, members) is not EMPTY:
                raise wrong_type(arguments, "list")
            return call(function, members, self.machine)

        return await self._drive(work)

    async def wait(self) -> None:
        """Wait for all started thunks, and for their handlers. Raises the first error of a handler."""
        await self._drive(lambda: self.wait_all(self.machine))

    def scope(
        self,
        directory: Value,
        *,
        stdin: Iterable[Value] | Source = (),
        env: Scope | None = None,
        stdout: Sink | None = None,
        bindings: Mapping[str, Value] | None = None,
        parent: Scope | None = None,
    ) -> Scope:
        """Return a new scope for a script to run in, with `*dir*`, `*env*`, `*stdin*`, `*stdout*` and `main`."""
        source = stdin if isinstance(stdin, Source) else ListSource(list(stdin))
        main = Applicative(Builtin("main", EMPTY, lambda args, scope, machine: None))
        given: dict[str, Value] = {
            "*dir*": _documented(directory, "the directory that the script is in"),
            "*env*": _documented(
                Scope() if env is None else env, "the environment variables of the script"
            ),
            "*stdin*": _documented(source, "the values that the script was given, a source"),
            "*stdout*": _documented(stdout or Collected(), "where the script's results go, a sink"),
            "main": _documented(main, "what a script does when it is run; define it"),
        }
        given.update(bindings or {})
        self.machine.shadowed.update(given)
        return Scope({}, (Scope(given, (parent or ground(),), True),), True)

    # --- for builtins: see `machine.SessionServices` ---

    def module(self, thunk: Thunk, machine: Machine) -> Scope:
        """Return the scope of a Bass thunk's module, loading it the first time.

        If another fiber is loading it, wait for that. Raises `BassError` if that can't end, since modules load each
        other.
        """
        key = machine.with_files(lambda: thunk_digest(thunk), thunk)
        while (loading := self._loading.get(key)) is not None:
            if self._waits_for_this_fiber(loading):
                raise BassError(f"the module {thunk.cmdline()} loads itself")
            self._wait_for_load(loading, machine)
        if key in self._modules:
            return self._modules[key]
        loading = self._loading[key] = _Loading()
        try:
            module = self._load(thunk, machine, _discarding_sink())
        finally:
            del self._loading[key]
            if loading.over is not None:
                loading.over.set()
        module.name = show(thunk)
        self._modules[key] = module
        return module

    def run(self, thunk: Thunk, machine: Machine, stdout: Sink | None = None) -> None:
        """Run a thunk: a Bass script in this session, anything else on the host."""
        if thunk.platform() is None:
            scope = self._load(thunk, machine, stdout or _discarding_sink())
            call(scope.get("main"), list(thunk.args[1:]), machine)
            return
        machine.wait(read_files(thunk))
        machine.wait(self.host.run(thunk))

    def start(self, thunk: Thunk, handler: Value, machine: Machine) -> Callable[[Machine], Value]:
        """Run a thunk and then its handler in the background. Return a function that waits for the handler's result."""
        started = _StartedThunk()
        self._started.append(started)

        def work() -> Value:
            outcome: Value = None
            try:
                self.run(thunk, machine)
            except Exhausted:
                raise
            except BassError as error:
                outcome = ErrorValue(error)
            return call(handler, [outcome], machine)

        async def task() -> None:
            try:
                started.result = await self._drive(work)
            except Exception as error:  # noqa: BLE001 - raised where it is waited for
                started.error = error

        started.task = self._driver.spawn(task)

        def wait(machine: Machine) -> Value:
            machine.wait(started.task.wait())
            return started.outcome()

        return wait

    def wait_all(self, machine: Machine) -> None:
        """Wait for all started thunks, including those that are started meanwhile. Raises the first error."""
        waited: list[_StartedThunk] = []
        try:
            while self._started:
                started, self._started = self._started, []
                waited += started
                for each in started:
                    machine.wait(each.task.wait())
        except BaseException:  # cancelled: they are still to be waited for
            self._started[:0] = waited
            raise
        for each in waited:
            each.outcome()

    def open(self, subject: Value, machine: Machine) -> Callable[[Machine], bytes]:
        """Start reading a file or a thunk's output. Return a function that returns the next bytes, b"" at the end."""
        if isinstance(subject, FSPath):
            return _once(machine.wait(subject.read()))
        if isinstance(subject, HostPath):
            subject.inside()
            return self._read_stream(self.host.read_host_path(subject))
        if isinstance(subject, Thunk) and subject.platform() is None:
            return self._script_output(subject)
        if isinstance(subject, Thunk):
            machine.wait(read_files(subject))
            return self._read_stream(self.host.read(subject))
        if isinstance(subject, ThunkPath):
            return _once(self._read_exported(subject, machine))
        raise wrong_type(subject, "thunk, or path of a file that can be read", "read")

    def write(self, source: Value, destination: HostPath, machine: Machine) -> None:
        """Write a file's content or a thunk's output to a file of the host."""
        destination.inside()
        content = bytearray()
        pull = self.open(source, machine)
        while piece := pull(machine):
            content += piece
        machine.wait(self.host.write_host_path(destination, bytes(content)))

    # --- helpers ---

    def _waits_for_this_fiber(self, loading: _Loading) -> bool:
        """Return whether this fiber is loading a module, or the one that is waits for this one, perhaps indirectly."""
        this, found = greenlet.getcurrent(), loading
        while found.fiber is not this:
            if found.fiber not in self._blocked:
                return False
            found = self._blocked[found.fiber]
        return True

    def _wait_for_load(self, loading: _Loading, machine: Machine) -> None:
        if loading.over is None:
            loading.over = self._driver.event()
        this = greenlet.getcurrent()
        self._blocked[this] = loading
        try:
            machine.wait(loading.over.wait())
        finally:
            del self._blocked[this]

    async def _drive(self, work: Callable[[], Value]) -> Value:
        return await drive(self.machine, work, self._driver.checkpoint)

    def _evaluate(self, source: SourceText, scope: Scope) -> Value:
        value: Value = None
        for form in Reader(source):
            value = self.machine.finish(code(form)(scope, self.machine))
        return value

    def _load(self, thunk: Thunk, machine: Machine, stdout: Sink) -> Scope:
        """Evaluate the script of a Bass thunk, and return its scope."""
        script = self._find_script(thunk, machine)
        scope = self.scope(
            script.directory,
            stdin=thunk.stdin,
            env=Scope(dict(thunk.env)),
            stdout=stdout,
            parent=internal() if script.standard else None,
        )
        text = SourceText(script.source, script.name, script.file, standard=script.standard)
        self._evaluate(text, scope)
        return scope

    def _find_script(self, thunk: Thunk, machine: Machine) -> _Script:
        """Return the script that a thunk's command stands for, from std or a file."""
        if thunk.image is not None:
            raise BassError(
                f"{brief(thunk)} isn't a Bass script: it has an image; run it, or read it"
            )
        if not thunk.args:
            raise BassError("this thunk has no command")
        command = strip(thunk.args[0])
        if isinstance(command, CommandPath):
            return _standard_module(command)
        if isinstance(command, FSPath | HostPath | ThunkPath) and isinstance(
            command.path, FilePath
        ):
            source = self._read_source(command, machine)
            return _Script(source, show(command), command, command.parent_dir())
        if isinstance(command, FilePath):
            raise BassError(
                f"{show(command)} is a name that means nothing here: did you mean *dir*/{command.path}?"
            )
        raise BassError(
            f"{brief(command)} isn't a Bass script: its thunk needs an image, or (.module)"
        )

    def _read_source(self, path: Value, machine: Machine) -> str:
        content = bytearray()
        pull = self.open(path, machine)
        while piece := pull(machine):
            content += piece
            if len(content) > MAX_SOURCE:
                raise BassError(
                    f"{brief(path)} is larger than {MAX_SOURCE >> 20} MiB: it isn't a script"
                )
        return text_of(bytes(content))

    def _read_stream(self, stream: ByteStream) -> Callable[[Machine], bytes]:
        pull = self._driver.open(stream)
        return lambda machine: machine.wait(pull())

    def _script_output(self, thunk: Thunk) -> Callable[[Machine], bytes]:
        """Return a function that returns what a Bass script emits, as JSON. The first call runs the script."""
        waiting = [thunk]

        def pull(machine: Machine) -> bytes:
            if not waiting:
                return b""
            lines: list[str] = []

            def emit(value: Value, machine: Machine) -> None:
                lines.append(encode(value) + "\n")

            try:
                self.run(waiting.pop(), machine, Sink(show(thunk), emit))
            except EndOfSource as error:
                # One that the script has read: what it emits has failed, and not ended.
                failure = BassError(error.message)
                failure.trace = error.trace
                raise failure from error
            return "".join(lines).encode()

        return pull

    def _read_exported(self, path: ThunkPath, machine: Machine) -> bytes:
        """Return the content of a file that a thunk produced."""
        if path.thunk.platform() is None:
            raise BassError(f"{brief(path)} cannot be read: a Bass script leaves no files behind")
        machine.wait(read_files(path.thunk))
        pull = self._driver.open(self.host.export_path(path))
        archive = TarDecoder()
        while piece := machine.wait(pull()):
            archive.feed(piece)
        archive.close()
        member = strip(archive.next())
        if not isinstance(member, FSPath):
            raise BassError(f"there is no file {brief(path)}")
        return member.read_now()


class _StartedThunk:
    """A thunk that was started, and what its handler has returned or raised."""

    def __init__(self) -> None:
        self.task: Task
        self.result: Value = None
        self.error: Exception | None = None

    def outcome(self) -> Value:
        """Return the handler's result, or raise its error, once it has ended."""
        if self.error is None:
            return self.result
        raise self.error.copy() if isinstance(self.error, BassError) else self.error


class _Loading:
    """A module that a fiber is loading. Others that need it wait for `over`, which the first of them makes."""

    def __init__(self) -> None:
        self.fiber = greenlet.getcurrent()
        self.over: SessionEvent | None = None


@dataclass(frozen=True, slots=True)
class _Script:
    """A script's text, its name in messages, its file, and its directory, which becomes `*dir*`.

    A script of std (`standard`) also sees the internal builtins.
    """

    source: str
    name: str
    file: Path
    directory: Path
    standard: bool = False


_NEAR_MODULE: Final = 0.8
"""The minimum similarity of suggested modules, with the `.bass` that all of their files end with."""


def _standard_module(command: CommandPath) -> _Script:
    files = _std()
    file = FSPath(files, FilePath(f"{command.command}.bass"))
    names = [entry.name for entry in files.list_now("")]
    if file.inside() not in names:
        similar = get_close_matches(file.inside(), names, n=1, cutoff=_NEAR_MODULE)
        meant = f" (did you mean {similar[0].removesuffix('.bass')}?)" if similar else ""
        raise BassError(f"there is no standard module .{command.command}{meant}")
    directory = FSPath(files, DirPath("."))
    return _Script(text_of(file.read_now()), show(command), file, directory, standard=True)


@cache
def _std() -> MemoryFiles:
    files = (resources.files("bassloop.bass") / "std").iterdir()
    return MemoryFiles(
        {each.name: each.read_bytes() for each in files if each.name.endswith(".bass")}
    )


def _discarding_sink() -> Sink:
    return Sink("nowhere", lambda value, machine: None)


def _once(content: bytes) -> Callable[[Machine], bytes]:
    """Return a function that returns the content, and then b""."""
    pieces = [content]
    return lambda machine: pieces.pop() if pieces else b""


def _documented(value: Value, doc: str) -> Value:
    return WithMeta(value, Scope({"doc": doc}))
