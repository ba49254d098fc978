"""Update `bass.lock` files: repeat every call in them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bassloop.bass import memo_file
from bassloop.bass.errors import BassError
from bassloop.bass.path import Path
from bassloop.bass.printer import show
from bassloop.bass.session import Session
from bassloop.bass.wire.decode import decode, decode_thunk
from bassloop.bass.wire.digest import path_name
from bassloop.bass.wire.encode import encode
from bassloop.tools.local.late_driver import LateDriver
from bassloop.tools.local.local_host import FileStream, LocalHost, replace
from bassloop.tools.local.script import OWN

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Callable

    from bassloop.bass.thunk import Thunk
    from bassloop.tools.local.late_driver import RuntimeOptions
    from bassloop.tools.local.local_host import LateImports
    from bassloop.wire import bass_pb2 as pb


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
    path: pathlib.Path,
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
        result.output.CopyFrom(encode(output))
    except BassError as error:
        return CallOutcome(name, before, before, error)
    return CallOutcome(name, before, show(output))


def _command_name(thunk: Thunk) -> str:
    command = thunk.args[0] if thunk.args else None
    return path_name(command) if isinstance(command, Path) else thunk.cmdline()
