"""A session: one running script, the modules that it loaded, and everything that it started."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import replace
from importlib import resources
from typing import TYPE_CHECKING, Any

import trio

from bassloop.bass.errors import BassError, BudgetExceeded
from bassloop.bass.ground import make_ground
from bassloop.bass.machine import Budget, Machine
from bassloop.bass.paths import (
    CommandPath,
    DirPath,
    FilePath,
    MemoryFiles,
    MemoryPath,
    Path,
    RepositoryPath,
    ThunkPath,
)
from bassloop.bass.printer import show
from bassloop.bass.proto import encode_thunk
from bassloop.bass.reader import read
from bassloop.bass.streams import Sink, Source, source_of
from bassloop.bass.thunk import ImageRef, Mount, Thunk
from bassloop.bass.values import Scope, Value

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    from bassloop.bass.host import Host
    from bassloop.wire import bass_pb2 as pb

MAX_FILES = 10_000
MAX_BYTES = 32 << 20


class _Started:
    """Something in the background, and how it ended once `over` is set."""

    def __init__(self) -> None:
        self.over = trio.Event()
        self.result: Value = None
        self.error: BassError | None = None

    async def finished(self) -> Value:
        await self.over.wait()
        if self.error is not None:
            raise self.error
        return self.result


class Session:
    """Evaluates scripts under one budget. Made by :func:`open_session`, which owns what is started.

    Every coroutine raises BassError for what is wrong with the script; cancelling one cancels the
    script there.
    """

    def __init__(self, host: Host, budget: Budget, nursery: trio.Nursery) -> None:
        self._host = host
        self._nursery = nursery
        self._started: list[_Started] = []
        self._modules: dict[str, Scope] = {}
        self._loading: set[str] = set()
        self._said = 0
        self.machine = Machine(budget)
        self.machine.session = self
        self.ground = make_ground()

    # --- for whoever embeds it ---

    async def load(self, source: str, name: str, directory: Value) -> Scope:
        """Evaluate a module's text, and return its scope."""
        scope = self._run_scope(directory)
        await self._do(lambda: self._evaluate(source, name, scope))
        return scope

    async def evaluate(self, source: str, name: str, directory: Value) -> Value:
        """The value of a text's last form, in a scope of its own."""
        scope = self._run_scope(directory)
        return await self._do(lambda: self._evaluate(source, name, scope))

    async def call(self, combiner: Value, *arguments: Value) -> Value:
        """Call a combiner with values."""
        return await self._do(lambda: self.machine.call(combiner, list(arguments)))

    async def run_script(
        self,
        source: str,
        name: str,
        *,
        directory: Value,
        stdin: list[Value],
        bindings: dict[str, Value],
    ) -> None:
        """Evaluate a script's text, then call its `main`."""
        scope = self._run_scope(directory, source_of(stdin, "stdin"))
        scope.parents[0].bindings.update(bindings)

        def work() -> Value:
            self._evaluate(source, name, scope)
            return self.machine.call(scope.get("main"), [])

        await self._do(work)

    async def wait(self) -> None:
        """Return when everything that was started is over. Raises the first error of it."""
        while self._started:
            started, self._started = self._started, []
            for each in started:
                await each.finished()

    def binding(self, scope: Scope, name: str, where: str) -> Value:
        """What a module binds to a name. Raises BassError, which says how to bind it."""
        if name not in scope.bindings:
            raise BassError(
                f"{where} does not bind {name}; add (defn {name} [event client] …) to it"
            )
        return scope.bindings[name]

    async def thunk_proto(self, thunk: Thunk) -> pb.Thunk:
        """A thunk's message, with the repository's files that it names read into it."""
        return encode_thunk(await self._with_files(thunk))

    # --- for ground ---

    def spawn(self, work: Callable[[], Value]) -> Callable[[], Awaitable[Value]]:
        """Run something in the background; returns what awaits its result."""
        started = _Started()
        self._started.append(started)

        async def task() -> None:
            try:
                started.result = await self._do(work)
            except BassError as error:
                started.error = error
            finally:
                started.over.set()

        self._nursery.start_soon(task)
        return started.finished

    def load_thunk(self, machine: Machine, thunk: Thunk) -> Scope:
        """The module of a Bass thunk, the same for equal thunks."""
        if thunk.image is not None or not thunk.args:
            raise BassError(f"{thunk.cmdline() or 'scratch'} is no Bass module: it has an image")
        key = self._identity(thunk)
        if key in self._loading:
            raise BassError(f"the module {thunk.cmdline()} loads itself")
        if key not in self._modules:
            self._loading.add(key)
            try:
                self._modules[key] = self._module(machine, thunk)
            finally:
                self._loading.discard(key)
        return self._modules[key]

    def run_thunk(self, machine: Machine, thunk: Thunk) -> None:
        """Run a thunk: a Bass script here, anything else on a runtime."""
        if thunk.image is None:
            if not thunk.args:
                raise BassError("a thunk without a command can't be run")
            scope = self._module(machine, thunk)
            machine.call(scope.get("main"), [])
        else:
            machine.wait_for(self._host_run(thunk))

    def read(self, machine: Machine, what: Value) -> bytes:
        """What a thunk prints, or what is in a file."""
        if isinstance(what, Thunk):
            found: bytes = machine.wait_for(self._host_read(what))
            return found
        return self._content(machine, what)

    def log(self, message: str, fields: dict[str, Value]) -> None:
        """Something that the script says, within its budget of output."""
        self._said += len(message) + sum(len(show(value)) for value in fields.values())
        if self._said > self.machine.budget.output:
            limit = self.machine.budget.output
            raise BudgetExceeded(f"the script said more than {limit:,} bytes (HOOK_OUTPUT)")
        self._host.log(message, fields)

    async def resolve(self, ref: ImageRef) -> Thunk:
        """The thunk of an image's name."""
        return await self._host.resolve(ref)

    # --- inside ---

    async def _do(self, work: Callable[[], Value]) -> Value:
        return await self.machine.run(work, trio.lowlevel.checkpoint)

    def _evaluate(self, source: str, name: str, scope: Scope) -> Value:
        value: Value = None
        for form in read(source, name):
            value = self.machine.evaluate(form, scope)
        return value

    def _run_scope(self, directory: Value, stdin: Source | None = None) -> Scope:
        async def refuse(value: Value) -> None:
            self.log(show(value), {})

        given = Scope({}, (self.ground,))
        given.bindings.update(
            {
                "*dir*": directory,
                "*env*": Scope(),
                "*stdin*": stdin or source_of([], "stdin"),
                "*stdout*": Sink(refuse, "stdout"),
                "main": _nothing(),
            }
        )
        return Scope({}, (given,))

    def _module(self, machine: Machine, thunk: Thunk) -> Scope:
        command = thunk.args[0]
        stdin = source_of(thunk.stdin, "stdin")
        if isinstance(command, CommandPath):
            if command.command in BUILT_IN:
                return Scope(BUILT_IN[command.command]())
            source = _standard(command.command)
            scope = self._run_scope(DirPath("."), stdin)
            self._evaluate(source, f"std/{command.command}.bass", scope)
            return scope
        data = self._content(machine, command)
        parent = _parent(command)
        scope = self._run_scope(parent, stdin)
        self._evaluate(data.decode(errors="replace"), command.name(), scope)
        return scope

    def _content(self, machine: Machine, path: Value) -> bytes:
        if isinstance(path, MemoryPath):
            return path.content()
        if isinstance(path, RepositoryPath):
            for name in (path.path.path, f"{path.path.path}.bass"):
                data = machine.wait_for(self._host.read_file(path.tree, name.removeprefix("./")))
                if data is not None:
                    content: bytes = data
                    return content
            raise BassError(f"there is no file {path}")
        raise BassError(f"{show(path)} can't be read here: it is in no repository")

    def _identity(self, thunk: Thunk) -> str:
        command = thunk.args[0]
        stdin = " ".join(show(value) for value in thunk.stdin)
        return f"{show(command)} {stdin}"

    async def _host_run(self, thunk: Thunk) -> None:
        await self._host.run(await self._with_files(thunk))

    async def _host_read(self, thunk: Thunk) -> bytes:
        return await self._host.read(await self._with_files(thunk))

    async def _with_files(self, thunk: Thunk) -> Thunk:
        """The thunk with the repository's files in it as files in memory, which travel with it."""
        image = thunk.image
        if isinstance(image, Thunk):
            image = await self._with_files(image)
        mounts = [
            Mount(await self._as_memory(mount.source), mount.target) for mount in thunk.mounts
        ]
        args = [await self._as_memory(arg) for arg in thunk.args]
        return replace(thunk, image=image, mounts=tuple(mounts), args=tuple(args))

    async def _as_memory(self, value: Value) -> Value:
        if isinstance(value, ThunkPath):
            return ThunkPath(await self._with_files(value.thunk), value.path)
        if not isinstance(value, RepositoryPath):
            return value
        name = value.path.path.removeprefix("./")
        if isinstance(value.path, FilePath):
            data = await self._host.read_file(value.tree, name)
            if data is None:
                raise BassError(f"there is no file {value}")
            return MemoryPath(MemoryFiles({name: data}), FilePath(name))
        files = await self._host.list_files(value.tree, "" if name == "." else name)
        if files is None:
            raise BassError(f"there is no folder {value}")
        if len(files) > MAX_FILES or sum(map(len, files.values())) > MAX_BYTES:
            raise BassError(f"{value} has too much in it to travel with a thunk; clone it instead")
        return MemoryPath(MemoryFiles(files), DirPath("."))


@asynccontextmanager
async def open_session(host: Host, *, budget: Budget | None = None) -> AsyncGenerator[Session]:
    """A session; leaving the context cancels what it started and has not ended."""
    raised = None
    async with trio.open_nursery() as nursery:
        try:
            yield Session(host, budget or Budget(), nursery)
        except BassError as error:
            raised = error
        nursery.cancel_scope.cancel()
    if raised is not None:
        raise raised


def _nothing() -> Value:
    from bassloop.bass.combiners import builtin

    return builtin("main", "arguments", lambda *arguments: None)


def _parent(path: Path) -> Path:
    import posixpath

    inner: Any = getattr(path, "path", None)
    above = (
        DirPath(posixpath.dirname(inner.path) or ".")
        if isinstance(inner, FilePath)
        else DirPath(".")
    )
    return replace(path, path=above) if inner is not None and not isinstance(inner, str) else above  # type: ignore[type-var]


def _standard(name: str) -> str:
    text = resources.files("bassloop.bass") / "std" / f"{name}.bass"
    try:
        return text.read_text()
    except (FileNotFoundError, OSError) as error:
        raise BassError(f"there is no standard module .{name}") from error


def _strings() -> dict[str, Value]:
    from bassloop.bass.combiners import builtin
    from bassloop.bass.ground.data import as_text
    from bassloop.bass.ground.lists import items
    from bassloop.bass.values import make_list

    return {
        "join": builtin("join", "[delimiter strings]", lambda d, s: d.join(map(as_text, items(s)))),
        "split": builtin("split", "[string delimiter]", lambda s, d: make_list(s.split(d))),
        "upper-case": builtin("upper-case", "[string]", lambda s: s.upper()),
        "includes?": builtin("includes?", "[string part]", lambda s, part: part in s),
        "length": builtin("length", "[string]", lambda s: len(s.encode())),
    }


BUILT_IN: dict[str, Callable[[], dict[str, Value]]] = {"strings": _strings}
