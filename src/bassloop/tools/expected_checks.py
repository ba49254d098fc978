"""Find out which checks an event would start, by evaluating the hook without running anything."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from bassloop import bass
from bassloop.bass.session import Session
from bassloop.repository_files import CONFIG_FILE, MISSING_HOOK, PROJECT, SCRIPT
from bassloop.tools.sample_events import SAMPLE_EVENTS
from bassloop.wire import bass_pb2

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from bassloop.bass.session import SessionDriver
    from bassloop.tools.sample_events import SampleEvent


@dataclass(frozen=True, slots=True)
class ExpectedChecks:
    """The checks that an event would start.

    Args:
        names: their names, in order.
        error: why the checks are unknown, or the hook's error.
        location: the file and line of the error, as far as known.
    """

    names: list[str]
    error: str | None = None
    location: str | None = None

    @property
    def fails(self) -> bool:
        """Whether the hook itself fails, and doesn't just need to run something."""
        return self.error is not None and not self.error.startswith(bass.UNAVAILABLE)


async def find_expected_checks(
    root: Path,
    event: SampleEvent,
    driver: SessionDriver | None = None,
    *,
    declared: str | None = None,
) -> ExpectedChecks:
    """Evaluate a folder's hook for an event, without running anything.

    Args:
        driver: runs the hook's background work; None to run it under Trio.
        declared: the Bass translation of its `.bassloop.toml`, if that declares checks.
    """
    [expected] = await _find(root, [event], driver, declared)
    return expected


async def find_all_expected_checks(
    root: Path, driver: SessionDriver | None = None, *, declared: str | None = None
) -> list[tuple[SampleEvent, ExpectedChecks]]:
    """Evaluate a folder's hook for a sample of each event; see :func:`find_expected_checks`."""
    expectations = await _find(root, SAMPLE_EVENTS, driver, declared)
    return list(zip(SAMPLE_EVENTS, expectations, strict=True))


async def _find(
    root: Path,
    events: Sequence[SampleEvent],
    driver: SessionDriver | None,
    declared: str | None,
) -> list[ExpectedChecks]:
    """Return the expected checks for each event. If one script fails for an event, the next isn't tried for it."""
    trials = [_Trial(event) for event in events]
    if declared is not None:
        await _call_hook(declared, CONFIG_FILE, root, trials, driver)
    if (root / PROJECT).is_file():
        await _call_hook(_read_script(root / PROJECT), PROJECT, root, trials, driver)
    elif (root / SCRIPT).is_file():
        for trial in filter(_Trial.goes_on, trials):
            await _run_script(_read_script(root / SCRIPT), root, trial, driver)
    return [trial.expected_checks() for trial in trials]


def _read_script(path: Path) -> str:
    """Return a script's text, in any locale. Linting reports bytes that aren't UTF-8."""
    return path.read_text(encoding="utf-8", errors="replace")


@dataclass(slots=True)
class _Trial:
    """The checks that one event has started so far."""

    event: SampleEvent
    names: list[str] = field(default_factory=list)
    error: bass.BassError | None = None

    def goes_on(self) -> bool:
        """Return whether nothing has failed yet."""
        return self.error is None

    def expected_checks(self) -> ExpectedChecks:
        """Return the checks, and the reason if they may not be all."""
        if self.error is None:
            return ExpectedChecks(self.names)
        return ExpectedChecks(self.names, self.error.message, _location(self.error))

    def client(self) -> bass.Value:
        """Return the client for a hook, which only records the names of checks."""

        def start(
            thunk: bass.Value, check: bass.Value, sha: bass.Value, *_: bass.Value
        ) -> bass.Value:
            self.names.append(str(check))
            return bass.builtin("wait", "[]", lambda: None)

        return bass.scope(
            {
                "start-check": bass.builtin("start-check", "[thunk name sha]", start),
                "start-check-with": bass.builtin(
                    "start-check-with", "[thunk name sha options]", start
                ),
            }
        )


def _location(error: bass.BassError) -> str | None:
    """Return the location of the innermost form that isn't in the library, but in the user's files."""
    for place in error.trace:
        if place is not None and place.source.name in (PROJECT, SCRIPT):
            return f"{place.source.name}:{place.line}:{place.column + 1}"
    return None


async def _call_hook(
    source: str, name: str, root: Path, trials: Sequence[_Trial], driver: SessionDriver | None
) -> None:
    """Load a module once, and call its `github-hook` for each event."""
    async with _open_session(driver) as session:
        try:
            module = await session.load(source, name, _folder(root, "."))
            hook = bass.binding(module, "github-hook", name, MISSING_HOOK)
        except bass.BassError as error:
            for trial in filter(_Trial.goes_on, trials):
                trial.error = error
            return
        for trial in filter(_Trial.goes_on, trials):
            try:
                await session.call(
                    hook, bass.from_python(trial.event.as_hook_argument()), trial.client()
                )
                await session.wait()
            except bass.BassError as error:
                trial.error = error


async def _run_script(source: str, root: Path, trial: _Trial, driver: SessionDriver | None) -> None:
    """Run a script's `main` for an event."""
    async with _open_session(driver) as session:
        try:
            await session.run_script(
                source,
                SCRIPT,
                directory=_folder(root, SCRIPT.rpartition("/")[0]),
                stdin=[bass.from_python(trial.event.as_hook_argument())],
                bindings={"*loop*": trial.client()},
            )
            await session.wait()
        except bass.BassError as error:
            trial.error = error


def _open_session(driver: SessionDriver | None) -> AbstractAsyncContextManager[Session]:
    host = SilentHost()
    return bass.open_session(host) if driver is None else nullcontext(Session(host, driver))


def _folder(root: Path, path: str) -> bass.Value:
    return bass.repository_dir(_Tree(root), bass.DirPath(path))


class _Tree:
    """Serves the files of a folder like a repository's."""

    name = "repository"

    def __init__(self, root: Path) -> None:
        self._root = root

    async def read_file(self, path: str) -> bytes:
        """Return a file's content."""
        try:
            return (self._root / path).read_bytes()
        except OSError as error:
            raise bass.BassError(f"there is no file ./{path}: {error.strerror}") from error

    async def list_dir(self, path: str) -> list[bass.DirEntry]:
        """Return a folder's members."""
        try:
            return [
                bass.DirEntry(each.name, is_dir=each.is_dir())
                for each in (self._root / path).iterdir()
            ]
        except OSError as error:
            raise bass.BassError(f"there is no folder ./{path}: {error.strerror}") from error


class SilentHost(bass.Host):
    """A runtime that resolves every image to itself, and runs nothing."""

    async def resolve(self, ref: bass.ImageRef) -> bass.Thunk:
        """Return the image by its name, unresolved."""
        image = bass_pb2.ThunkImage(ref=bass.encode_ref(ref))
        return bass.decode_thunk(bass_pb2.Thunk(image=image))

    def log(self, message: str, fields: Mapping[str, Any]) -> None:
        """Say nothing."""

    def write_error(self, text: str) -> None:
        """Say nothing."""
