"""Evaluate and run scripts from the command line, and repeat the calls in their `bass.lock` files."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bassloop.bass import memo_file
from bassloop.bass.errors import BassError
from bassloop.bass.filesystem import memory_file
from bassloop.bass.json import encode
from bassloop.bass.machine import Budget
from bassloop.bass.path import FilePath, HostPath, parse_file_or_dir
from bassloop.bass.path import Path as BassPath
from bassloop.bass.printer import show
from bassloop.bass.session import Session
from bassloop.bass.stream import BytesSource, Sink, Source, decoder
from bassloop.bass.values import Scope, text_of
from bassloop.bass.wire.decode import decode, decode_thunk
from bassloop.bass.wire.digest import path_name
from bassloop.bass.wire.encode import encode as encode_message
from bassloop.repository_files import CONFIG_FILE, OTHER_FORMATS
from bassloop.tools.local.late_driver import LateDriver
from bassloop.tools.local.local_host import FileStream, LocalHost, replace

if TYPE_CHECKING:
    from collections.abc import Callable

    from bassloop.bass.machine import Machine
    from bassloop.bass.thunk import Thunk
    from bassloop.bass.values import Value
    from bassloop.tools.local.late_driver import RuntimeOptions
    from bassloop.tools.local.local_host import LateImports
    from bassloop.wire import bass_pb2 as pb

OWN = Budget(steps=sys.maxsize, output=sys.maxsize)
"""The budget of the caller's own scripts, which are limited only by the machine."""


@dataclass(slots=True)
class ScriptText:
    """A script's text, with its name in errors and its directory."""

    source: str
    name: str
    directory: HostPath
    file: Value = None


@dataclass(slots=True)
class ScriptCall:
    """A script to run: its arguments, its inputs (`NAME=VALUE`), and how to run its thunks."""

    script: Path
    arguments: tuple[str, ...] = ()
    inputs: tuple[str, ...] = ()
    options: RuntimeOptions | None = None


def read_script(path: str) -> ScriptText:
    """Return the script at a path, or from standard input if that is `-`. Raises BassError."""
    if path == "-":
        content = sys.stdin.buffer.read()
        return ScriptText(
            text_of(content), "<stdin>", HostPath("."), memory_file("<stdin>", content)
        )
    folder, name = os.path.split(path)
    if Path(name).suffix in OTHER_FORMATS or name == CONFIG_FILE:
        raise BassError(f"{path} isn't a Bass script")
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise BassError(f"{path} cannot be read: {error.strerror}") from error
    directory = HostPath(folder or ".")
    return ScriptText(text_of(content), path, directory, directory.at(FilePath(name)))


def evaluate(text: ScriptText, imports: LateImports) -> Value:
    """Return the value of a script's last form. Raises BassError, and Interrupted."""
    driver = LateDriver(imports.event_loop)
    session = Session(LocalHost(driver, imports.thunk_runner), driver, OWN)
    scope = session.scope(text.directory, stdin=_stdin(driver), env=_environment())

    async def work() -> Value:
        value = await session.evaluate(
            text.source, text.name, text.directory, scope=scope, file=text.file
        )
        await session.wait()
        return value

    return driver.run(work())


def run(call: ScriptCall, imports: LateImports) -> None:
    """Evaluate a script, call its `main`, and print the values that it emits as JSON.

    Raises BassError, and Interrupted.
    """
    text = read_script(str(call.script))
    driver = LateDriver(imports.event_loop)
    session = Session(LocalHost(driver, imports.thunk_runner, call.options), driver, OWN)

    async def work() -> None:
        await session.run_script(
            text.source,
            text.name,
            directory=text.directory,
            stdin=[_inputs(call.inputs)] if call.inputs else _stdin(driver),
            env=_environment(),
            arguments=call.arguments,
            stdout=Sink("stdout", _emit),
            file=text.file,
        )
        await session.wait()

    driver.run(work())


def _environment() -> Scope:
    return Scope(dict(os.environ))


def _inputs(inputs: tuple[str, ...]) -> Scope:
    """Parse `NAME=VALUE` inputs into a scope. A value that begins with `./`, `../` or `/` is a path on this machine."""
    given: dict[str, Value] = {}
    for each in inputs:
        name, equals, value = each.partition("=")
        if not name or not equals:
            raise BassError(f"--input {each}: must be NAME=VALUE")
        given[name] = value
        if value.startswith(("./", "../", "/")):
            folder, _, last = value.rstrip("/").rpartition("/")
            is_dir = value.endswith("/") or Path(value).is_dir()
            path = parse_file_or_dir(f"{last}/" if is_dir else last)
            given[name] = HostPath(folder or "/", path)
    return Scope(given)


def _emit(value: Value, machine: Machine) -> None:
    try:
        sys.stdout.write(encode(value) + "\n")
        sys.stdout.flush()
    except BrokenPipeError as error:
        raise BassError("standard output is closed") from error


def _stdin(driver: LateDriver) -> Source:
    """Return a source of the JSON values on standard input, which is read only when one is needed."""

    def pull(machine: Machine) -> bytes:
        return machine.wait(driver.read(sys.stdin.fileno()))  # type: ignore[no-any-return]

    return BytesSource(decoder("json"), pull)


# --- bass.lock ---


@dataclass(frozen=True, slots=True)
class CallOutcome:
    """The outcome of one call: its results `before` and `after`, as text, or its error."""

    call: str
    before: str
    after: str
    error: BassError | None = None

    @property
    def changed(self) -> bool:
        """Whether the call has a different result than before."""
        return self.error is None and self.before != self.after


def bump(
    path: Path,
    options: RuntimeOptions | None,
    imports: LateImports,
    *,
    write: bool = True,
    on_outcome: Callable[[CallOutcome], None] = lambda outcome: None,
) -> list[CallOutcome]:
    """Repeat all calls in a file, and write their results.

    A call that fails keeps its old result. Raises BassError if the file can't be read or written.
    """
    driver = LateDriver(imports.event_loop)
    session = Session(LocalHost(driver, imports.thunk_runner, options), driver, OWN)

    async def work() -> list[CallOutcome]:
        content = b"".join([piece async for piece in FileStream(path)])
        known = memo_file.parse(content, str(path))
        outcomes = []
        for memo in known.memos:
            for calls in memo.calls:
                for result in calls.results:
                    outcome = await _call_again(session, memo.module, calls.binding, result)
                    on_outcome(outcome)
                    outcomes.append(outcome)
        if write and any(outcome.changed for outcome in outcomes):
            replace(path, memo_file.render(known))
        return outcomes

    return driver.run(work())


async def _call_again(
    session: Session, module: pb.Thunk, binding: str, result: pb.Memosphere.Result
) -> CallOutcome:
    """Repeat one call, and store its result."""
    name, before = binding, ""
    try:
        thunk = decode_thunk(module)
        before = show(decode(result.output))
        arguments = decode(result.input)
        name = f"{_command_name(thunk)}:{binding} {show(arguments)}"
        output = await session.call_in(thunk, binding, arguments)
        result.output.CopyFrom(encode_message(output))
    except BassError as error:
        return CallOutcome(name, before, before, error)
    return CallOutcome(name, before, show(output))


def _command_name(thunk: Thunk) -> str:
    command = thunk.args[0] if thunk.args else None
    return path_name(command) if isinstance(command, BassPath) else thunk.cmdline()
