"""What a script has done for it: thunks run, files read and written, modules loaded, things said."""

from __future__ import annotations

from datetime import UTC, timedelta
from typing import TYPE_CHECKING, final

from bassloop.bass import arguments, errors
from bassloop.bass.annotated import WithMeta
from bassloop.bass.builtins.paths import stem
from bassloop.bass.builtins.predicates import predicates_of
from bassloop.bass.builtins.scoping import fields_of
from bassloop.bass.builtins.thunks import image_ref, thunk
from bassloop.bass.combiner import Applicative, Builtin, Combiner, Operative, Wrapped
from bassloop.bass.compiler import code
from bassloop.bass.errors import BassError
from bassloop.bass.filesystem import FSPath, repository_dir
from bassloop.bass.json import encode
from bassloop.bass.pair import from_list
from bassloop.bass.path import FilePath, HostPath, Path
from bassloop.bass.printer import display, show
from bassloop.bass.registry import builtin
from bassloop.bass.scope import MISSING
from bassloop.bass.stream import BytesSource, decoder
from bassloop.bass.symbol import Symbol
from bassloop.bass.thunk import ImageRef, Thunk
from bassloop.bass.values import EMPTY, Object, Verbatim, strip
from bassloop.bass.wire.encode import read_files

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from bassloop.bass.filesystem import DirEntry
    from bassloop.bass.machine import Machine
    from bassloop.bass.scope import Scope
    from bassloop.bass.values import Value


@final
class ErrorValue(Combiner):
    """An error as a value: calling it raises the error."""

    __slots__ = ("error",)
    kind = "error"

    def __init__(self, error: BassError) -> None:
        self.error = error

    def parts(self) -> Iterator[Verbatim | Value]:
        yield Verbatim(f"<error: {self.error.message}>")

    def call(self, operands: Value, scope: Scope, machine: Machine) -> Value:
        raise self.error


# --- modules ---


@builtin(
    "load", "[thunk]", "the module that a thunk without image is: its scope\n\n=> (load (.strings))"
)
def load(args: list[Value], scope: Scope, machine: Machine) -> Value:
    return machine.session.module(thunk(args[0], "load"), machine)


@builtin(
    "use", "thunks",
    """loads modules, and binds each to the name of its command

    => (do (use (.strings)) (strings:upper-case "hey"))""",
    operative=True,
)  # fmt: skip
def use(args: list[Value], scope: Scope, machine: Machine) -> Value:
    names = []
    for form in args:
        wanted = thunk(code(form)(scope, machine), "use")
        command = strip(wanted.args[0]) if wanted.args else None
        if not isinstance(command, Path):
            raise BassError(f"use: {errors.brief(wanted)} is no module: its command is no path")
        name = stem(command.path_name())
        machine.define(scope, name, machine.session.module(wanted, machine))
        names.append(Symbol(name))
    return from_list(names)


# --- thunks ---


@builtin(
    "start", "[thunk handler]",
    """begins to run a thunk, and goes on; returns a function that waits for it

    When it is over, the handler is called: with null, or with an error, which raises itself when it is called.
    What the handler returns is what waiting returns.

    => ((start (from (linux/alpine) ($ false)) null?))""",
)  # fmt: skip
def start(args: list[Value], scope: Scope, machine: Machine) -> Value:
    started = thunk(args[0], "start")
    handler = arguments.combiner(args[1], "start")
    wait = machine.session.start(started, handler, machine)

    def waiting(args: list[Value], scope: Scope, machine: Machine) -> Value:
        return wait(machine)

    return Wrapped(Builtin(show(started), EMPTY, waiting, 0, 0))


@builtin(
    "run", "[thunk]",
    """runs a thunk; an error if it fails, else null

    => (run (from (linux/alpine) ($ echo "Hello, world!")))""",
)  # fmt: skip
def run(args: list[Value], scope: Scope, machine: Machine) -> Value:
    machine.session.run(thunk(args[0], "run"), machine)
    return None


@builtin(
    "succeeds?", "[thunk]",
    """runs a thunk; whether it succeeds

    => (succeeds? (from (linux/alpine) ($ test -e /etc/passwd)))""",
)  # fmt: skip
def succeeds(args: list[Value], scope: Scope, machine: Machine) -> Value:
    tried = thunk(args[0], "succeeds?")
    try:
        machine.session.run(tried, machine)
    except errors.Exhausted:
        raise
    except BassError:
        return False
    return True


@builtin("wait", "[]", "waits for everything that was started; an error if a handler raised one")
def wait(args: list[Value], scope: Scope, machine: Machine) -> Value:
    machine.session.wait_all(machine)
    return None


@builtin(
    "resolve", "[platform ref]",
    """the thunk of exactly the image that a reference means now

    => (resolve {:platform {:os "linux"} :repository "golang" :tag "latest"})""",
    count=1,
)  # fmt: skip
def resolve(args: list[Value], scope: Scope, machine: Machine) -> Value:
    ref = image_ref(args[0], "resolve")
    if isinstance(ref.repository, Object):
        machine.wait(read_files(ref.repository))
    return machine.wait(machine.host.resolve(ref))


# --- files and streams ---


@builtin(
    "read", "[thunk-or-file protocol]",
    """a source of what a thunk writes to its standard output, or of what is in a file

    The protocol is one of :raw (all as one string), :json, :lines, :unix-table (lists of words) and :tar.

    => (next (read (from (linux/alpine) ($ echo 42)) :json))""",
)  # fmt: skip
def read(args: list[Value], scope: Scope, machine: Machine) -> Value:
    subject = arguments.bare(args[0])
    made = decoder(arguments.symbol(args[1], "read"))
    return BytesSource(made, machine.session.open(subject, machine))


@builtin(
    "write", "[src dest]",
    """writes what `read` reads to a file on this machine

    => (write (from (linux/alpine) ($ echo hey)) *dir*/hey)""",
)  # fmt: skip
def write(args: list[Value], scope: Scope, machine: Machine) -> Value:
    destination = arguments.bare(args[1])
    if not isinstance(destination, HostPath):
        raise errors.wrong_type(destination, "path of a file on this machine", "write")
    machine.session.write(arguments.bare(args[0]), destination, machine)
    return None


@final
class _Exported:
    """A file system of one file: the image of a thunk, made when it is read."""

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
        return bytes(content)

    async def list_dir(self, path: str) -> Sequence[DirEntry]:
        from bassloop.bass.filesystem import DirEntry

        return [DirEntry("image.tar", is_dir=False)]


@builtin(
    "export",
    "[thunk]",
    "a thunk's image as the file of an OCI archive\n\n=> (export (from (linux/alpine) ($ true)))",
)
def export(args: list[Value], scope: Scope, machine: Machine) -> Value:
    exported = thunk(args[0], "export")
    if exported.platform() is None:
        raise BassError(f"export: {errors.brief(exported)} has no image")
    return FSPath(repository_dir(_Exported(exported, machine)).fs, FilePath("image.tar"))


@builtin(
    "publish", "[src ref]",
    """pushes a thunk's image to a registry; returns the reference it has there

    => (publish (from (linux/alpine) ($ true)) "example.com/name:tag")""",
)  # fmt: skip
def publish(args: list[Value], scope: Scope, machine: Machine) -> Value:
    published = thunk(args[0], "publish")
    ref = _reference(arguments.text(args[1], "publish"))
    if published.platform() is None:
        raise BassError(f"publish: {errors.brief(published)} has no image")
    machine.wait(read_files(published))
    return machine.wait(machine.host.publish(published, ref)).scope()


def _reference(text: str) -> ImageRef:
    """A reference in full, from one as people write it."""
    import re

    found = re.fullmatch(r"([a-z0-9]+(?:[._/:-]+[a-z0-9]+)*?)(?::([\w][\w.-]{0,127}))?", text)
    if found is None:
        raise BassError(f"publish: {text!r} is no name of an image, like example.com/name:tag")
    name, tag = found[1], found[2] or "latest"
    first, slash, _ = name.partition("/")
    if not slash:
        name = f"docker.io/library/{name}"
    elif "." not in first and ":" not in first and first != "localhost":
        name = f"docker.io/{name}"
    return ImageRef(name, tag=tag)


# --- time, messages, documentation ---


@builtin(
    "now", "[seconds]",
    """the time in UTC, rounded down to so many seconds

    As a label it says for how long a thunk may be taken from a cache.

    => (now 60)""",
)  # fmt: skip
def now(args: list[Value], scope: Scope, machine: Machine) -> Value:
    seconds = arguments.integer(args[0], "now")
    time = machine.host.now().astimezone(UTC).replace(microsecond=0)
    if seconds > 0:
        # Counted from the first day of the first year, which was a Monday.
        days = time.toordinal() - 1
        since = days * 86400 + time.hour * 3600 + time.minute * 60 + time.second
        time -= timedelta(seconds=since % seconds)
    return time.strftime("%Y-%m-%dT%H:%M:%SZ")


@builtin(
    "log", "[val & fields]",
    """says something to whoever runs the script; returns the value

    Facts may follow, as alternating names and values.

    => (log "doing something" :a 1)""",
)  # fmt: skip
def log(args: list[Value], scope: Scope, machine: Machine) -> Value:
    fields = {name: display(value) for name, value in fields_of(args[1:], "log").items()}
    message = display(args[0])
    machine.meter.write(len(message) + sum(map(len, fields.values())))
    machine.host.log(message, fields)
    return args[0]


@builtin(
    "dump",
    "[val]",
    "writes a value as JSON to the script's standard error; returns it\n\n=> (dump {:a 1})",
)
def dump(args: list[Value], scope: Scope, machine: Machine) -> Value:
    try:
        text = encode(args[0]) + "\n"
    except BassError:
        text = show(args[0]) + "\n"
    machine.meter.write(len(text))
    machine.host.write_error(text)
    return args[0]


@builtin(
    "doc", "symbols",
    """shows the documentation of what symbols are bound to; of all that the scope binds, if there are none

    => (doc map)""",
    operative=True,
)  # fmt: skip
def doc(args: list[Value], scope: Scope, machine: Machine) -> Value:
    forms = args or [Symbol(name) for name in scope.vars]
    for form in forms:
        text = documentation(form, code(form)(scope, machine))
        machine.meter.write(len(text))
        machine.host.write_error(text)
    return None


def documentation(form: Value, value: Value) -> str:
    """What is to be said of a value: the form it came from, what it is, how it is called, its comment."""
    lines = ["-" * 50, " ".join([show(form), *predicates_of(value)])]
    inside = strip(value)
    while isinstance(inside, Applicative):
        inside = inside.unwrap()
    if isinstance(inside, Operative | Builtin):
        lines.append(f"args: {show(inside.formals)}")
    if isinstance(value, WithMeta):
        about = value.meta.get("doc")
        if about is not MISSING and isinstance(strip(about), str):
            lines += ["", strip(about)]
    return "\n".join(lines) + "\n\n"
