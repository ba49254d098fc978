"""Running thunks, and loading modules: what asks the host."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bassloop.bass import jsonform
from bassloop.bass.combiners import Applicative, builtin, expect
from bassloop.bass.errors import BassError
from bassloop.bass.ground.define import function, operative
from bassloop.bass.ground.thunks import as_ref, as_thunk, stem
from bassloop.bass.paths import Path
from bassloop.bass.streams import Source, source_of
from bassloop.bass.thunk import ImageRef
from bassloop.bass.values import Scope, Symbol, Value, iterate, make_list

if TYPE_CHECKING:
    from collections.abc import Callable

    from bassloop.bass.machine import Machine


def bind_into(ground: Scope) -> None:
    """Bind these names."""
    _bind_modules(ground)
    _bind_running(ground)


def _bind_modules(ground: Scope) -> None:
    @function(ground, "load", "[thunk]", "the module of a Bass thunk", needs_machine=True)
    def load(machine: Machine, thunk: Value) -> Value:
        return machine.session.load_thunk(machine, as_thunk(thunk))

    @operative(ground, "use", "thunks", "loads modules and binds each under its name")
    def use(machine: Machine, operands: Value, scope: Scope) -> Value:
        bound = []
        for form in iterate(operands):
            thunk = as_thunk(machine.evaluate(form, scope))
            name = stem(expect(thunk.args[0], Path, "a module's path"))
            scope.bindings[name] = machine.session.load_thunk(machine, thunk)
            bound.append(Symbol(name))
        return make_list(bound)


def _bind_running(ground: Scope) -> None:
    @function(ground, "resolve", "[ref]", "the thunk of an image's name", needs_machine=True)
    def resolve(machine: Machine, ref: Value) -> Value:
        wanted = as_ref(expect(ref, Scope, "an image's scope"))
        if not isinstance(wanted, ImageRef):
            raise BassError("only an image in a registry can be resolved")
        return machine.resolve(wanted)

    @function(ground, "run", "[thunk]", "runs a thunk, and fails when it does", needs_machine=True)
    def run(machine: Machine, thunk: Value) -> Value:
        machine.session.run_thunk(machine, as_thunk(thunk))
        return None

    @function(
        ground,
        "succeeds?",
        "[thunk]",
        "runs a thunk, and says whether it succeeded",
        needs_machine=True,
    )
    def succeeds(machine: Machine, thunk: Value) -> Value:
        try:
            machine.session.run_thunk(machine, as_thunk(thunk))
        except BassError:
            return False
        return True

    @function(
        ground,
        "start",
        "[thunk handler]",
        "runs a thunk in the background; returns what waits for it",
        needs_machine=True,
    )
    def start(machine: Machine, thunk: Value, handler: Value) -> Value:
        found = as_thunk(thunk)

        def work() -> Value:
            error: Value = None
            try:
                machine.session.run_thunk(machine, found)
            except BassError as failure:
                error = failing(failure)
            return machine.call(handler, [error])

        return waiter(machine, machine.session.spawn(work))

    @function(ground, "wait", "[]", "waits for everything that was started", needs_machine=True)
    def wait(machine: Machine) -> Value:
        machine.wait_for(machine.session.wait())
        return None

    @function(
        ground,
        "read",
        "[thunk-or-file protocol]",
        "what a thunk prints, or a file has in it",
        needs_machine=True,
    )
    def read(machine: Machine, what: Value, protocol: Value) -> Value:
        kind = expect(protocol, Symbol, "a protocol").name
        data = machine.session.read(machine, what)
        return _protocol(kind, data)

    @function(ground, "mask", "[secret name]", "a string as a secret")
    def mask(text: Value, name: Value) -> Value:
        from bassloop.bass.values import Secret

        return Secret(
            expect(name, Symbol, "a secret's name").name, expect(text, str, "a string").encode()
        )


def failing(error: BassError) -> Applicative:
    """An error as a value: a combiner that raises it."""

    def fail() -> Value:
        raise error

    return builtin("error", "[]", fail)


def waiter(machine: Machine, finished: Callable[[], Any]) -> Applicative:
    """A combiner that waits for what was started, and returns its result or fails as it did."""
    return builtin("wait", "[]", lambda: machine.wait_for(finished()))


def _protocol(kind: str, data: bytes) -> Source:
    text = data.decode(errors="replace")
    if kind == "raw":
        return source_of([text], "raw")
    if kind == "lines":
        return source_of(text.splitlines(), "lines")
    if kind == "unix-table":
        rows = (make_list(line.split()) for line in text.splitlines())
        return source_of(rows, "unix-table")
    if kind == "json":
        return source_of(
            [jsonform.loads(line) for line in text.splitlines() if line.strip()], "json"
        )
    raise BassError(f"a protocol is raw, lines, unix-table or json, not {kind}")
