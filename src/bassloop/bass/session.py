"""A session: one running script, the modules that it loaded, and everything that it started.

All of it shares one budget, and one host to ask. What runs at the same time is the driver's business.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from bassloop.bass import errors
from bassloop.bass.annotated import WithMeta
from bassloop.bass.budget import Budget, Meter
from bassloop.bass.combiner import Builtin, Wrapped
from bassloop.bass.compiler import code
from bassloop.bass.errors import BassError, Exhausted
from bassloop.bass.filesystem import FSPath, NotRead
from bassloop.bass.ground import ground, internal
from bassloop.bass.json import encode
from bassloop.bass.machine import Machine, drive
from bassloop.bass.pair import to_list
from bassloop.bass.path import HostPath
from bassloop.bass.printer import show
from bassloop.bass.ranges import SourceText as Text
from bassloop.bass.reader import Reader, read_source
from bassloop.bass.registry import bounds
from bassloop.bass.scope import MISSING, Scope
from bassloop.bass.scripts import find_script
from bassloop.bass.stream import Collected, ListSource, Sink, Source
from bassloop.bass.thunk import Thunk, ThunkPath
from bassloop.bass.values import EMPTY, Value, strip
from bassloop.bass.wire.encode import encode_thunk, read_files

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Mapping

    from bassloop.bass import memo_file
    from bassloop.bass.host import ByteStream, Host
    from bassloop.bass.values import Value
    from bassloop.wire import bass_pb2 as pb


class Task(Protocol):
    """Something that goes on in the background."""

    async def wait(self) -> None:
        """Return when it is over, however it ended."""


class SessionDriver(Protocol):
    """What runs a session: Trio, or nothing at all (`Immediate`)."""

    async def checkpoint(self) -> None:
        """Let others run."""

    def spawn(self, work: Callable[[], Awaitable[None]]) -> Task:
        """Begin something in the background. It belongs to the session, and is cancelled with it."""

    def open(self, stream: ByteStream) -> Callable[[], Awaitable[bytes]]:
        """Begin to read a stream, in a task of its own; what gives the next piece, b"" at the end."""


class _Started:
    """A thunk that was started, with what its handler returned or raised once it is over."""

    def __init__(self) -> None:
        self.task: Task
        self.result: Value = None
        self.error: Exception | None = None


class Session:
    """Evaluates scripts. Every coroutine raises `BassError` for what is wrong with them, `Exhausted` for budgets.

    Cancelling one of them cancels the script there, and leaves the session usable.
    """

    def __init__(self, host: Host, driver: SessionDriver, budget: Budget | None = None) -> None:
        self.host = host
        self.meter = Meter(budget or Budget())
        self.machine = Machine(self, host, self.meter)
        self.written_memos: dict[tuple[str, str], list[tuple[memo_file.MemoKey, pb.Value]]] = {}
        self._driver = driver
        self._modules: dict[str, Scope] = {}
        self._loading: set[str] = set()
        self._started: list[_Started] = []

    # --- for whoever embeds it ---

    async def load(self, source: str, name: str, directory: Value) -> Scope:
        """Evaluate a module's text; its scope. Errors call the text `name`; `directory` is its `*dir*`."""
        scope = self.scope(directory)
        await self._drive(lambda: self._evaluate(source, name, scope))
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
        """The value of a text's last form, in a scope of its own or a given one.

        `file` is what metadata says it is defined in, instead of the name.
        """
        inner = self.scope(directory) if scope is None else scope
        return await self._drive(lambda: self._evaluate(source, name, inner, file))

    async def call(self, combiner: Value, *arguments: Value) -> Value:
        """Call a combiner with values."""
        return await self._drive(lambda: self.machine.call(combiner, list(arguments)))

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
        given = list(arguments)

        def work() -> Value:
            self._evaluate(source, name, scope, file)
            return self.machine.call(scope.get("main"), given)

        await self._drive(work)

    async def call_in(self, module: Thunk, name: str, arguments: Value) -> Value:
        """Call what a module binds to a name with a list of arguments; the module is loaded once."""

        def work() -> Value:
            function = self.module(module, self.machine).get(name)
            if function is MISSING:
                raise BassError(f"{module.cmdline()} does not bind {name}")
            return self.machine.call(function, to_list(arguments))

        return await self._drive(work)

    async def wait(self) -> None:
        """Return when everything that was started is over. Raises the first error of a handler."""
        await self._drive(lambda: self.wait_all(self.machine))

    async def thunk_proto(self, thunk: Thunk) -> pb.Thunk:
        """A thunk's message, with the files of the host in it read."""
        await read_files(thunk)
        return encode_thunk(thunk)

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
        """A new scope for a script to run in, with `*dir*`, `*env*`, `*stdin*`, `*stdout*` and `main`."""
        given_source = stdin if isinstance(stdin, Source) else ListSource(list(stdin))
        given: dict[str, Value] = {
            "*dir*": _about(directory, "the directory that the script is in"),
            "*env*": _about(
                Scope() if env is None else env, "the environment variables of the script"
            ),
            "*stdin*": _about(given_source, "the values that the script was given, a source"),
            "*stdout*": _about(stdout or Collected(), "where the script's results go, a sink"),
            "main": _about(
                Wrapped(Builtin("main", EMPTY, lambda args, scope, machine: None, 0, None)),
                "what a script does when it is run; define it",
            ),
        }
        given.update(bindings or {})
        return Scope({}, (Scope(given, (parent or ground(),), True),), True)

    # --- for builtins ---

    def module(self, thunk: Thunk, machine: Machine) -> Scope:
        """The module that a Bass thunk is, loaded once."""
        key = self._digest(thunk, machine)
        if key in self._modules:
            return self._modules[key]
        if key in self._loading:
            raise BassError(f"the module {thunk.cmdline()} loads itself")
        self._loading.add(key)
        try:
            module = self._script(thunk, machine, Sink("nowhere", lambda value, machine: None))
        finally:
            self._loading.discard(key)
        module.name = show(thunk)
        self._modules[key] = module
        return module

    def run(self, thunk: Thunk, machine: Machine, stdout: Sink | None = None) -> None:
        """Run a thunk: a Bass script here, anything else by the host."""
        if thunk.platform() is None:
            scope = self._script(
                thunk, machine, stdout or Sink("nowhere", lambda value, machine: None)
            )
            machine.call(scope.get("main"), list(thunk.args[1:]))
            return
        machine.wait(read_files(thunk))
        machine.wait(self.host.run(thunk))

    def start(self, thunk: Thunk, handler: Value, machine: Machine) -> Callable[[Machine], Value]:
        """Run a thunk in the background, and then the handler; what waits for its result."""
        from bassloop.bass.builtins.running import ErrorValue

        started = _Started()
        self._started.append(started)

        def work() -> Value:
            outcome: Value = None
            try:
                self.run(thunk, machine)
            except Exhausted:
                raise
            except BassError as error:
                outcome = ErrorValue(error)
            return machine.call(handler, [outcome])

        async def task() -> None:
            try:
                started.result = await self._drive(work)
            except Exception as error:  # noqa: BLE001 - raised where it is waited for
                started.error = error

        started.task = self._driver.spawn(task)

        def wait(machine: Machine) -> Value:
            machine.wait(started.task.wait())
            if started.error is not None:
                raise started.error
            return started.result

        return wait

    def wait_all(self, machine: Machine) -> None:
        """Wait for everything that was started, and for what that starts. Raises the first error."""
        failure: Exception | None = None
        while self._started:
            started, self._started = self._started, []
            for each in started:
                machine.wait(each.task.wait())
                failure = failure or each.error
        if failure is not None:
            raise failure

    def open(self, subject: Value, machine: Machine) -> Callable[[Machine], bytes]:
        """Begin to read a file, or what a thunk writes; what gives the next piece of bytes."""
        if isinstance(subject, FSPath):
            content = [machine.wait(subject.read())]
            return lambda machine: content.pop() if content else b""
        if isinstance(subject, HostPath):
            subject.inside()
            return _pulling(self._driver.open(self.host.read_host_path(subject)))
        if isinstance(subject, Thunk) and subject.platform() is None:
            return self._output(subject)
        if isinstance(subject, Thunk):
            machine.wait(read_files(subject))
            return _pulling(self._driver.open(self.host.read(subject)))
        if isinstance(subject, ThunkPath):
            return self._exported(subject, machine)
        raise errors.wrong_type(subject, "thunk, or path of a file that can be read", "read")

    def write(self, source: Value, destination: HostPath, machine: Machine) -> None:
        """Write what can be read to a file of this machine."""
        destination.inside()
        pull = self.open(source, machine)
        content = bytearray()
        while piece := pull(machine):
            machine.meter.allocate(len(piece))
            content += piece

        async def pieces() -> Any:
            yield bytes(content)

        machine.wait(self.host.write_host_path(destination, pieces()))

    # --- inside ---

    async def _drive(self, work: Callable[[], Value]) -> Value:
        return await drive(self.machine, work, self._driver.checkpoint)

    def _evaluate(self, source: str, name: str, scope: Scope, file: Value = None) -> Value:
        value: Value = None
        for form in Reader(Text(source, name, file)):
            value = self.machine.finish(code(form)(scope, self.machine))
        return value

    def _digest(self, thunk: Thunk, machine: Machine) -> str:
        try:
            return thunk.digest()
        except NotRead:
            machine.wait(read_files(thunk))
            return thunk.digest()

    def _script(self, thunk: Thunk, machine: Machine, stdout: Sink) -> Scope:
        """The scope of a Bass thunk, evaluated anew."""
        script = find_script(thunk, lambda path: self.open(path, machine), machine)
        scope = self.scope(
            script.directory,
            stdin=thunk.stdin,
            env=Scope(dict(thunk.env)),
            stdout=stdout,
            parent=internal() if script.standard else None,
        )
        self._evaluate(script.source, script.shown, scope, script.file)
        return scope

    def _output(self, thunk: Thunk) -> Callable[[Machine], bytes]:
        """What a Bass script emits, as JSON; it runs when the first value is wanted."""
        waiting = [thunk]

        def pull(machine: Machine) -> bytes:
            if not waiting:
                return b""
            lines: list[str] = []

            def emit(value: Value, machine: Machine) -> None:
                line = encode(value) + "\n"
                machine.meter.allocate(len(line))
                lines.append(line)

            self.run(waiting.pop(), machine, Sink(show(thunk), emit))
            return "".join(lines).encode()

        return pull

    def _exported(self, path: ThunkPath, machine: Machine) -> Callable[[Machine], bytes]:
        """The content of a file that a thunk left behind."""
        from bassloop.bass.stream import TarDecoder

        if path.thunk.platform() is None:
            raise BassError(
                f"{errors.brief(path)} cannot be read: a Bass script leaves no files behind"
            )
        machine.wait(read_files(path.thunk))
        pull = self._driver.open(self.host.export_path(path))
        archive = TarDecoder()
        while piece := machine.wait(pull()):
            archive.feed(piece)
        archive.close()
        member = strip(archive.next())
        if not isinstance(member, FSPath):
            raise BassError(f"there is no file {errors.brief(path)}")
        content = [member.read_now()]
        return lambda machine: content.pop() if content else b""


def _pulling(pull: Callable[[], Awaitable[bytes]]) -> Callable[[Machine], bytes]:
    return lambda machine: machine.wait(pull())


def _about(value: Value, doc: str) -> Value:
    return WithMeta(value, Scope({"doc": doc}))


T = TypeVar("T")


def run_now(coroutine: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine that never has to wait. Raises `RuntimeError` if it does."""
    try:
        coroutine.send(None)
    except StopIteration as done:
        result: T = done.value
        return result
    coroutine.close()
    raise RuntimeError("this has to wait for something: evaluate it in a session that Trio drives")


class _Done:
    async def wait(self) -> None:
        return


class Immediate:
    """Does at once what is to be done in the background, and reads streams where they are wanted."""

    async def checkpoint(self) -> None:
        return

    def spawn(self, work: Callable[[], Awaitable[None]]) -> Task:
        async def begin() -> None:
            await work()

        run_now(begin())
        return _Done()

    def open(self, stream: ByteStream) -> Callable[[], Awaitable[bytes]]:
        pieces: list[AsyncIterator[bytes]] = []

        async def pull() -> bytes:
            if not pieces:
                pieces.append(await stream.__aenter__())
            async for piece in pieces[0]:
                if piece:
                    return piece
            await stream.__aexit__(None, None, None)
            return b""

        return pull


def immediate_session(host: Host, budget: Budget | None = None) -> Session:
    """A session whose coroutines never wait, if the host's do not: run them with `run_now`."""
    return Session(host, Immediate(), budget)


def builtin(name: str, formals: str, function: Callable[..., Any]) -> Value:
    """A function of the language, made of a Python function that takes its arguments as values.

    `formals` is written as in the language, and says how many arguments there may be. What the function
    returns is the result; an awaitable is awaited, under the session's driver, while the script waits. It
    raises `BassError` for what is the script's to hear.
    """

    def call(args: list[Value], scope: Scope, machine: Machine) -> Value:
        result = function(*args)
        return machine.wait(result) if inspect.isawaitable(result) else result

    least, most = bounds(formals)
    return Wrapped(Builtin(name, read_source(formals, name)[0].form, call, least, most))


def scope(bindings: Mapping[str, Value]) -> Scope:
    """A scope of these bindings."""
    return Scope(dict(bindings))


def binding(module: Scope, name: str, where: str) -> Value:
    """What a module itself binds to a name. Raises `BassError` that says how to bind it."""
    value = module.vars.get(name, MISSING)
    if value is MISSING:
        raise BassError(f"{where} does not bind {name}; add (defn {name} […] …) to it")
    return value
