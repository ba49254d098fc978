"""The hook: found in the repository, evaluated in a process of its own, and reported on a check run if it fails.

There are three kinds. `project.bass` is a module whose `github-hook` is called with the event and a client;
`bass/github-hook` is a script whose `main` reads the event from `*stdin*`, with the client bound to `*loop*`.
Both start checks with the client's `start-check`. Checks declared in `.bassloop.toml` are translated to such a module
(:mod:`bassloop.project`), and evaluated like one. A repository may have declared checks as well as one of the others;
then both are evaluated, the declared ones first.

A hook's process asks its host for the repository's files, to run thunks on its sender's runners, and to start checks.
Everything that it sends is validated here.
"""

from __future__ import annotations

from collections import deque
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import structlog
import trio
from google.protobuf.message import DecodeError

from bassloop.checks.call_metadata import call_metadata, metadata_of
from bassloop.checks.check_request import CheckRefused, CheckRequest
from bassloop.checks.notices import post_notice
from bassloop.checks.starting import RequestedThunk, read_thunk, start_check
from bassloop.concurrency import run_all, shielded
from bassloop.evaluator import (
    EvaluatorLost,
    HookCrashed,
    HookFailed,
    HookStopped,
    HostRefusal,
)
from bassloop.evaluator.messages import Evaluate, PayloadEdit
from bassloop.github import GitHubError, retry_after
from bassloop.lifecycle import RunState
from bassloop.project import ChecksFileError, compile_checks
from bassloop.repository_files import CONFIG_FILE, PROJECT, SCRIPT
from bassloop.runtimes import NoRuntime, Platform, RunFailed, RunnerWait, Runtime, RuntimeLost
from bassloop.store import StoreError
from bassloop.telemetry.spans import span
from bassloop.wire import bass_pb2

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence

    from google.protobuf.message import Message

    from bassloop.checks.delivery_context import DeliveryContext
    from bassloop.wire import progrock_pb2


log = structlog.get_logger(__name__)

M = TypeVar("M", bound="Message")

MAX_OUTPUT = 16 << 20
MAX_PROGRESS = 1 << 20
MAX_REFERENCE = 64 << 10

HOOK_FILES = (CONFIG_FILE, PROJECT)
"""The files that are read for every hook. The script is read only if there is no module."""
MAX_SOURCE = 1 << 20
NOTE_SECONDS = 5.0

OUTCOMES = ("done", "failed", "stopped", "crashed")
"""The ways in which a hook can end, from best to worst."""


@dataclass(eq=False)
class Progress:
    """The progress of the hook's own thunks: the latest updates from runners, up to a limit."""

    updates: deque[progrock_pb2.StatusUpdate] = field(default_factory=deque)
    _size: int = 0

    def add(self, update: progrock_pb2.StatusUpdate) -> None:
        """Add an update, and drop the oldest ones if there are too many."""
        self.updates.append(update)
        self._size += update.ByteSize()
        while self._size > MAX_PROGRESS and len(self.updates) > 1:
            self._size -= self.updates.popleft().ByteSize()


@dataclass(eq=False)
class LoopHost:
    """The :class:`bassloop.evaluator.hook_process.HookHost` of one hook: executes everything that the hook requests.

    Args:
        hook: the hook's name, which none of its checks may have.
        progress: the updates of the hook's own thunks, which are shown if it fails.
    """

    context: DeliveryContext
    hook: str
    progress: Progress = field(default_factory=Progress)
    _output: list[str] = field(default_factory=list)

    @property
    def tree(self) -> str:
        """The name with which paths into the repository are printed."""
        return f"{self.context.repository.full_name}@{self.context.hook_sha[:12]}"

    def output(self) -> str:
        """Return the lines that the hook has logged so far."""
        return "".join(f"{line}\n" for line in self._output)

    def log(self, message: str, fields: str) -> None:
        """Keep a message of the hook, which its check run shows if it fails."""
        self._output.append(f"{message} {fields}".rstrip())
        log.info("hook says", said=message[:500], fields=fields[:500])

    async def payload(self) -> bytes:
        """Return the event's payload, as GitHub sent it."""
        return await self.context.loop.store.deliveries.body(self.context.delivery)

    # --- files ---

    async def read_file(self, path: str) -> bytes:
        """Return the content of a file at the hook's commit. Raises HostRefusal."""
        try:
            content = await self.context.repo.file(path, self.context.hook_sha)
        except GitHubError as error:
            raise self._not_read(error) from error
        if content is None:
            raise HostRefusal(f"{self.tree} has no file ./{path}")
        return content

    async def list_directory(self, path: str) -> list[tuple[str, bool]]:
        """Return the files and directories in a directory, without submodules. Raises HostRefusal."""
        try:
            entries = await self.context.repo.directory(path, self.context.hook_sha)
        except GitHubError as error:
            raise self._not_read(error) from error
        if entries is None:
            raise HostRefusal(f"{self.tree} has no directory ./{path}")
        return [
            (entry.name, entry.type == "dir") for entry in entries if entry.type in ("dir", "file")
        ]

    def _not_read(self, error: GitHubError) -> HostRefusal:
        """Return the error for the hook. After a temporary one, its delivery is tried again."""
        if retry_after(error) is not None:
            self.context.note_retryable(error)
        return HostRefusal(str(error))

    # --- checks ---

    async def start_check(
        self, thunk: bytes, name: str, sha: str, after: Sequence[str], limit: float | None
    ) -> Callable[[], Awaitable[None]]:
        """Start a check, and return a function that waits until it has succeeded. Both raise HostRefusal."""
        if name == self.hook:
            raise HostRefusal(f"a check can't be named {name}: that name is the hook's own")
        requested = await read_thunk(self.context, thunk)
        request = CheckRequest(
            name=name,
            sha=sha,
            thunk=requested.message,
            record=requested.record(),
            platform=requested.platform,
            after=tuple(after),
            limit=limit,
        )
        try:
            handle = await start_check(self.context, request)
        except CheckRefused as error:
            raise HostRefusal(str(error)) from error

        async def wait() -> None:
            self.context.slot.unblock_head()
            await handle.finished.wait()
            self.context.note_retryable(handle.retryable_error)
            run = handle.run
            if run.state != RunState.SUCCEEDED:
                raise HostRefusal(run.message or f"the check {run.state}")

        return wait

    # --- thunks of the hook's own ---

    async def run(self, thunk: bytes) -> None:
        """Run a thunk on the sender's runtime. Raises HostRefusal."""
        async with (
            self._call(thunk) as (requested, runtime, metadata),
            runtime.run(requested.message, metadata) as updates,
        ):
            async for update in updates:
                self.progress.add(update)

    @asynccontextmanager
    async def read(self, thunk: bytes) -> AsyncGenerator[AsyncIterator[bytes]]:
        """Run a thunk and stream its output, up to a limit. Raises HostRefusal."""
        async with (
            self._call(thunk) as (requested, runtime, metadata),
            runtime.read(requested.message, metadata) as answers,
        ):
            yield _bounded(requested, answers, self.progress)

    @asynccontextmanager
    async def export(self, thunk: bytes) -> AsyncGenerator[AsyncIterator[bytes]]:
        """Stream a thunk as an OCI archive, up to a limit. Raises HostRefusal."""
        async with (
            self._call(thunk) as (requested, runtime, metadata),
            runtime.export(requested.message, metadata) as answers,
        ):
            yield _bounded(requested, answers, self.progress)

    @asynccontextmanager
    async def export_path(self, thunk: bytes, path: bytes) -> AsyncGenerator[AsyncIterator[bytes]]:
        """Stream a path in a thunk's output as a tar archive, up to a limit. Raises HostRefusal."""
        where = _decode(bass_pb2.FilesystemPath, path)
        async with self._call(thunk) as (requested, runtime, metadata):
            message = bass_pb2.ThunkPath(thunk=requested.encoded, path=where)
            async with runtime.export_path(message, metadata) as answers:
                yield _bounded(requested, answers, self.progress)

    async def resolve(self, reference: bytes) -> bytes:
        """Resolve an image to a thunk on the sender's runtime. Raises HostRefusal."""
        if len(reference) > MAX_REFERENCE:
            raise HostRefusal(f"an image's name of {len(reference):,} bytes is too long")
        message = _decode(bass_pb2.ImageRef, reference)
        platform = Platform(message.platform.os, message.platform.arch)
        try:
            trusted = self.context.policy.trust.is_demanding
            runtime = await self._runtime(platform, trusted=trusted)
            about = metadata_of(self.context, "", trusted=trusted)
            thunk = await runtime.resolve(message, about)
        except (NoRuntime, RunFailed, RuntimeLost) as error:
            raise self._not_run(error) from error
        return thunk.SerializeToString()

    @asynccontextmanager
    async def _call(
        self, thunk: bytes
    ) -> AsyncGenerator[tuple[RequestedThunk, Runtime, dict[str, str]]]:
        """Provide a runtime for a thunk, and the call's metadata. Raises HostRefusal for failures of runners."""
        requested = await read_thunk(self.context, thunk)
        try:
            trusted = self.context.policy.trust.is_demanding
            runtime = await self._runtime(requested.platform, trusted=trusted)
            calling = call_metadata(self.context, runtime, trusted=trusted, thunk=requested.sha256)
            async with calling as metadata:
                yield requested, runtime, metadata
        except (NoRuntime, RunFailed, RuntimeLost) as error:
            raise self._not_run(error) from error

    async def _runtime(self, platform: Platform | None, *, trusted: bool) -> Runtime:
        """Wait for a runtime. Raises NoRuntime.

        If one is connected to another node, that node handles the delivery from the start, unless one of its checks
        already runs here.
        """
        context, loop = self.context, self.context.loop
        wait = RunnerWait(context.policy.runner_wait)
        while True:
            found = await context.runtime_or_node(platform, trusted=trusted, wait=wait)
            if not isinstance(found, str):
                return found
            if await loop.store.deliveries.hand_over(context.delivery, found):
                context.is_handed_over = True
                context.nursery.cancel_scope.cancel()
                await trio.sleep_forever()
            loop.other_runtimes.refuse(found)

    def _not_run(self, error: Exception) -> HostRefusal:
        if isinstance(error, NoRuntime):
            connect = self.context.loop.connect(self.context.choice.owner.login)
            return HostRefusal(f"{error}. The hook needs one; connect it with: {connect}")
        return HostRefusal(str(error))


async def _bounded(
    thunk: RequestedThunk,
    answers: AsyncIterator[bytes | progrock_pb2.StatusUpdate],
    progress: Progress,
) -> AsyncGenerator[bytes]:
    size = 0
    async for answer in answers:
        if not isinstance(answer, bytes):
            progress.add(answer)
        else:
            size += len(answer)
            if size > MAX_OUTPUT:
                raise HostRefusal(f"{thunk.command} returned more than {MAX_OUTPUT:,} bytes")
            yield answer


def _decode(kind: type[M], encoded: bytes) -> M:
    try:
        return kind.FromString(encoded)
    except DecodeError as error:
        raise HostRefusal(f"this isn't a {kind.DESCRIPTOR.name}: {error}") from error


@dataclass(frozen=True, slots=True)
class HookSource:
    """A hook's source. Its name is its path in the repository, and its check run's name."""

    name: str
    source: str


async def run_hook(context: DeliveryContext, edit: PayloadEdit) -> None:
    """Run the hook of the event's head to its end.

    Args:
        edit: the change to make to the payload that the hook gets.

    The hook's errors are reported on a check run with its name. Raises GitHubError if the repository can't be
    read, StoreError, and EvaluatorLost.
    """
    began, outcome = trio.current_time(), "broken off"
    try:
        repository, head = context.repository.full_name, context.head.sha
        with span("hook", repository=repository, head=head) as hook_span:
            outcome = await _run_hook(context, edit)
            hook_span.set_attribute("outcome", outcome)
    finally:
        context.loop.hook_tally.add(outcome, trio.current_time() - began)


async def _run_hook(context: DeliveryContext, edit: PayloadEdit) -> str:
    """Find and evaluate the hooks, report their errors, and return the worst outcome in a word."""
    try:
        hooks = await find_hooks(context)
    except ChecksFileError as error:
        host = LoopHost(context, CONFIG_FILE)
        await _report_failure(context, HookSource(CONFIG_FILE, ""), host, str(error))
        return "failed"
    if not hooks:
        await _report_missing(context)
        return "missing"
    outcomes = [await _evaluate_and_report(context, hook, edit) for hook in hooks]
    return max(outcomes, key=OUTCOMES.index)


async def _evaluate_and_report(
    context: DeliveryContext, hook: HookSource, edit: PayloadEdit
) -> str:
    """Evaluate a hook, report its error, and return the outcome in a word."""
    host = LoopHost(context, hook.name)
    try:
        await _evaluate(context, hook, host, edit)
    except HookFailed as error:
        if context.retryable_error is not None:
            raise context.retryable_error from error
        log.info("hook failed", hook=hook.name, error=str(error))
        await _report_failure(context, hook, host, error.report)
        return "failed"
    except HookStopped as error:
        log.warning("hook stopped", hook=hook.name, why=str(error), setting=error.setting)
        message = (
            f"{hook.name} was stopped: {error}. The loop's setting {error.setting} is the limit."
        )
        await _report_failure(context, hook, host, message)
        return "stopped"
    except (GitHubError, StoreError, EvaluatorLost):
        raise
    except Exception as error:
        log.exception("hook crashed", hook=hook.name)
        why = error if isinstance(error, HookCrashed) else f"{type(error).__name__}: {error}"
        message = f"the loop itself failed while it evaluated {hook.name}: {why}"
        await _report_failure(context, hook, host, message)
        return "crashed"
    if context.rerun_of == hook.name:
        message = "It was evaluated without an error."
        await post_notice(context, hook.name, message, state=RunState.SUCCEEDED)
    return "done"


async def find_hooks(context: DeliveryContext) -> list[HookSource]:
    """Return the repository's hooks at the delivery's `hook_sha`.

    Raises GitHubError, and ChecksFileError for invalid declarations of checks.
    """
    hooks = []
    files, at = context.loop.hook_files, (context.repository.id, context.repo, context.hook_sha)
    found = await files.read_all(*at, HOOK_FILES)
    declared = found[CONFIG_FILE]
    if declared is not None:
        thread = files.declarations_thread
        source = await trio.to_thread.run_sync(compile_checks, declared, limiter=thread)
        if source is not None:
            hooks.append(HookSource(CONFIG_FILE, source))
    name, content = PROJECT, found[PROJECT]
    if content is None:
        name, content = SCRIPT, await files.read(*at, SCRIPT)
    if content is not None:
        hooks.append(HookSource(name, content[:MAX_SOURCE].decode(errors="replace")))
    return hooks


async def _evaluate(
    context: DeliveryContext, hook: HookSource, host: LoopHost, edit: PayloadEdit
) -> None:
    evaluators = context.loop.evaluators
    request = Evaluate(
        path=hook.name,
        source=hook.source,
        module=hook.name != SCRIPT,
        tree=host.tree,
        event=context.event.name,
        edit=edit,
        output=evaluators.limits.output,
    )
    deliveries = context.loop.store.deliveries
    try:
        await run_all(
            [
                partial(deliveries.begin_evaluation, context.delivery),
                partial(evaluators.evaluate, request, host, context.repository.id),
            ]
        )
    finally:
        with shielded(NOTE_SECONDS):
            await deliveries.end_evaluation(context.delivery)


async def _report_missing(context: DeliveryContext) -> None:
    message = (
        f"{context.repository.full_name} has neither checks in {CONFIG_FILE}, nor {PROJECT}, nor {SCRIPT} at "
        f"{context.hook_sha[:12]}. Run `bassloop init` in a clone, which proposes checks, and push."
    )
    await post_notice(context, PROJECT, message, state=RunState.NEUTRAL)


async def _report_failure(
    context: DeliveryContext, hook: HookSource, host: LoopHost, message: str
) -> None:
    await post_notice(context, hook.name, message, host.output(), progress=host.progress.updates)
