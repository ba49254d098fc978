"""The side effects of a script: running thunks, reading and writing files, loading modules, logging, showing docs."""

from __future__ import annotations

import re
from datetime import UTC, timedelta
from typing import TYPE_CHECKING, Final, final

from bassloop.bass import arguments
from bassloop.bass.builtins.control import fields_of
from bassloop.bass.builtins.paths import stem
from bassloop.bass.builtins.predicates import predicates_of
from bassloop.bass.builtins.thunks import image_ref
from bassloop.bass.combiner import Applicative, Builtin, Operative
from bassloop.bass.compile.code import code
from bassloop.bass.errors import BassError, Exhausted, brief
from bassloop.bass.filesystem import MAX_CACHED, DirEntry, FSPath, repository_dir
from bassloop.bass.json import encode
from bassloop.bass.path import FilePath, HostPath, Path
from bassloop.bass.printer import display, printable, show
from bassloop.bass.registry import builtin, function
from bassloop.bass.stream import BytesSource, decoder
from bassloop.bass.thunk import ImageRef, Thunk
from bassloop.bass.values import (
    EMPTY,
    MISSING,
    Located,
    Object,
    Symbol,
    WithMeta,
    from_list,
    plain,
    strip,
)
from bassloop.bass.wire.digest import path_name
from bassloop.bass.wire.encode import read_files

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bassloop.bass.arguments import SymbolName
    from bassloop.bass.machine import Machine
    from bassloop.bass.values import Combiner, Scope, Value


# --- modules ---


@function("load")
def load(thunk: Thunk, *, machine: Machine) -> Value:
    """Loads a module, a thunk without an image, and returns its scope.

    => (load (.strings))
    """
    return machine.session.module(thunk, machine)


@builtin("use", "thunks", operative=True)
def use(args: list[Value], scope: Scope, machine: Machine) -> Value:
    """Loads modules, and binds each to the name of its command.

    => (do (use (.strings)) (strings:upper-case "hey"))
    """
    names = []
    for form in args:
        wanted = arguments.thunk(code(form)(scope, machine), "use")
        command = strip(wanted.args[0]) if wanted.args else None
        if not isinstance(command, Path):
            raise BassError(f"use: {brief(wanted)} isn't a module: its command isn't a path")
        name = stem(path_name(command))
        try:
            module = machine.session.module(wanted, machine)
        except BassError as error:
            if error.range is None and isinstance(form, Located):
                error.add_call(form.range)  # a module that isn't there has no place of its own
            raise
        machine.define(scope, name, module)
        names.append(Symbol(name))
    return from_list(names)


# --- thunks ---


@function("start")
def start(thunk: Thunk, handler: Combiner, *, machine: Machine) -> Value:
    """Starts a thunk in the background, and returns a function that waits for it.

    When it has ended, the handler is called with null, or with a function that raises the error. The function that
    waits returns the handler's result.

    => ((start (from (linux/alpine) ($ false)) null?))
    """
    wait = machine.session.start(thunk, handler, machine)

    def waiting(args: list[Value], scope: Scope, machine: Machine) -> Value:
        return wait(machine)

    return Applicative(Builtin(show(thunk), EMPTY, waiting, 0, 0))


@function("run")
def run(thunk: Thunk, *, machine: Machine) -> Value:
    """Runs a thunk. Returns null, and raises an error if the thunk fails.

    => (run (from (linux/alpine) ($ echo "Hello, world!")))
    """
    machine.session.run(thunk, machine)
    return None


@function("succeeds?")
def succeeds(thunk: Thunk, *, machine: Machine) -> Value:
    """Runs a thunk, and returns whether it succeeded.

    => (succeeds? (from (linux/alpine) ($ test -e /etc/passwd)))
    """
    try:
        machine.session.run(thunk, machine)
    except Exhausted:
        raise
    except BassError:
        return False
    return True


@function("wait")
def wait(*, machine: Machine) -> Value:
    """Waits for everything that was started. Raises an error if a handler did."""
    machine.session.wait_all(machine)
    return None


@builtin("resolve", "[platform ref]", count=1)
def resolve(args: list[Value], scope: Scope, machine: Machine) -> Value:
    """Returns the thunk of the exact image that a reference currently stands for.

    => (resolve {:platform {:os "linux"} :repository "golang" :tag "latest"})
    """
    ref = image_ref(args[0], "resolve")
    if isinstance(ref.repository, Object):
        machine.wait(read_files(ref.repository))
    return machine.wait(machine.host.resolve(ref))


# --- files and streams ---


@function("read")
def read(thunk_or_file: Value, protocol: SymbolName, *, machine: Machine) -> Value:
    """Returns a source of a thunk's standard output, or of a file's content.

    The protocol is one of :raw (everything as one string), :json, :lines, :unix-table (lists of words) and :tar.

    => (next (read (from (linux/alpine) ($ echo 42)) :json))
    """
    made = decoder(protocol)
    return BytesSource(made, machine.session.open(plain(thunk_or_file), machine))


@function("write")
def write(src: Value, dest: HostPath, *, machine: Machine) -> Value:
    """Writes what `read` reads to a file on this machine.

    => (write (from (linux/alpine) ($ echo hey)) *dir*/hey)
    """
    machine.session.write(plain(src), dest, machine)
    return None


@final
class _ImageFile:
    """A file system with one file, a thunk's image, which is exported when it's read."""

    name = "fs"

    def __init__(self, thunk: Thunk, machine: Machine) -> None:
        self._thunk = thunk
        self._host = machine.host

    async def read_file(self, path: str) -> bytes:
        if path != "image.tar":
            raise BassError(f"there is no file ./{path}")
        await read_files(self._thunk)
        content = bytearray()
        async with self._host.export(self._thunk) as pieces:
            async for piece in pieces:
                content += piece
                if len(content) > MAX_CACHED:
                    break  # it's too much for the file system that caches it, which says so
        return bytes(content)

    async def list_dir(self, path: str) -> Sequence[DirEntry]:
        return [DirEntry("image.tar", is_dir=False)]


@function("export")
def export(thunk: Thunk, *, machine: Machine) -> Value:
    """Returns a thunk's image as a file, an OCI archive.

    => (export (from (linux/alpine) ($ true)))
    """
    if thunk.platform() is None:
        raise BassError(f"export: {brief(thunk)} has no image")
    return FSPath(repository_dir(_ImageFile(thunk, machine)).fs, FilePath("image.tar"))


@function("publish")
def publish(src: Thunk, ref: str, *, machine: Machine) -> Value:
    """Pushes a thunk's image to a registry, and returns its reference there.

    => (publish (from (linux/alpine) ($ true)) "example.com/name:tag")
    """
    target = _reference(ref)
    if src.platform() is None:
        raise BassError(f"publish: {brief(src)} has no image")
    machine.wait(read_files(src))
    return machine.wait(machine.host.publish(src, target)).scope()


_REFERENCE: Final = re.compile(r"([a-z0-9]+(?:[._/:-]+[a-z0-9]+)*?)(?::([\w][\w.-]{0,127}))?")


def _reference(text: str) -> ImageRef:
    """Return the reference for an image's name, with the default registry and tag."""
    found = _REFERENCE.fullmatch(text)
    if found is None:
        raise BassError(f"publish: {text!r} isn't the name of an image, like example.com/name:tag")
    name, tag = found[1], found[2] or "latest"
    first, slash, _ = name.partition("/")
    if not slash:
        name = f"docker.io/library/{name}"
    elif "." not in first and ":" not in first and first != "localhost":
        name = f"docker.io/{name}"
    return ImageRef(name, tag=tag)


# --- time, messages, documentation ---


@function("now")
def now(seconds: int, *, machine: Machine) -> Value:
    """Returns the time in UTC, rounded down to so many seconds.

    As a label, it limits how long a thunk's result may be taken from a cache.

    => (now 60)
    """
    time = machine.host.now().astimezone(UTC).replace(microsecond=0)
    if seconds > 0:
        # Counted from 0001-01-01, a Monday.
        days = time.toordinal() - 1
        since = days * 86400 + time.hour * 3600 + time.minute * 60 + time.second
        time -= timedelta(seconds=since % seconds)
    return time.replace(tzinfo=None).isoformat() + "Z"


@function("log")
def log(val: Value, *fields: Value, machine: Machine) -> Value:
    """Logs a message, and returns the value.

    Fields may follow, as alternating names and values.

    => (log "doing something" :a 1)
    """
    named = {name: printable(display(value)) for name, value in fields_of(fields, "log").items()}
    message = printable(display(val))
    machine.meter.write(message, *named, *named.values())
    machine.host.log(message, named)
    return val


@function("dump")
def dump(val: Value, *, machine: Machine) -> Value:
    """Writes a value as JSON to the script's standard error, and returns it.

    => (dump {:a 1})
    """
    try:
        text = encode(val) + "\n"
    except BassError:
        text = show(val) + "\n"
    machine.meter.write(text)
    machine.host.write_error(text)
    return val


@builtin("doc", "symbols", operative=True)
def doc(args: list[Value], scope: Scope, machine: Machine) -> Value:
    """Prints the documentation of symbols' values or, without symbols, of everything that the scope binds.

    => (doc map)
    """
    forms = args or [Symbol(name) for name in scope.vars]
    for form in forms:
        text = documentation(form, code(form)(scope, machine))
        machine.meter.write(text)
        machine.host.write_error(text)
    return None


def documentation(form: Value, value: Value) -> str:
    """Return the documentation of a form's value: its predicates, its formals, and its comment."""
    lines = ["-" * 50, " ".join([show(form), *predicates_of(value)])]
    inside = strip(value)
    while isinstance(inside, Applicative):
        inside = inside.underlying
    if isinstance(inside, Operative | Builtin):
        lines.append(f"args: {show(inside.formals)}")
    if isinstance(value, WithMeta):
        about = value.meta.get("doc")
        if about is not MISSING and isinstance(strip(about), str):
            lines += ["", strip(about)]
    return "\n".join(lines) + "\n\n"
