"""Evaluates hooks in processes of their own: the daemon's side. Needs Trio.

    evaluators = Evaluators(EvaluatorLimits())
    nursery.start_soon(evaluators.run)
    await evaluators.evaluate(request, host, key=repository_id)

The fork server belongs to `run`, which starts it again when it dies. A hook's process belongs to the call of
`evaluate`: whatever ends the call closes the process's socket, upon which the fork server kills it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NoReturn

import structlog
import trio

from bassloop.bass import BassError, render
from bassloop.concurrency import Backoff
from bassloop.evaluator import EvaluatorLost, HookCrashed, HookFailed, ProtocolError
from bassloop.evaluator.fair_share import FairLimiter, HookSlot
from bassloop.evaluator.hook_process import EvaluatorLimits, HookProcess, IdleProcesses
from bassloop.evaluator.messages import Describe, Described, Evaluate, Evaluated, FinalMessage
from bassloop.evaluator.server_process import RunServer, ServerProcess, SpareProcesses, run_server
from bassloop.evaluator.thunk_description import MAX_SMALL, describe

if TYPE_CHECKING:
    from collections.abc import Hashable

    from bassloop.evaluator.hook_process import HookHost
    from bassloop.evaluator.messages import Ready

log = structlog.get_logger(__name__)

_RESTART: Final = Backoff(first=0.1, longest=30.0)

_START_SECONDS: Final = 60.0
"""How long a hook waits for a fork server at most, in seconds."""

_STABLE_SECONDS: Final = 60.0
"""The minimum age, in seconds, of a fork server that is replaced without a delay when it ends."""


class Evaluators:
    """The fork server, and the hooks that are being evaluated.

    Args:
        run_server: runs one fork server until it ends.
    """

    def __init__(
        self, limits: EvaluatorLimits | None = None, run_server: RunServer = run_server
    ) -> None:
        self._run_server = run_server
        self.limits = limits or EvaluatorLimits()
        self._slots = FairLimiter(self.limits.at_once, on_unused=lambda: self._spares.fill())
        self._describing = FairLimiter(self.limits.at_once)
        self._idle = IdleProcesses(self.limits.waiting)
        self._spares = SpareProcesses(
            min(self.limits.spares, self.limits.at_once), is_quiet=lambda: not self._slots.held
        )
        self._server: ServerProcess | None = None
        self._ready = trio.Event()
        self._starts = 0
        self._failing = False

    def __repr__(self) -> str:
        state = "not ready" if self._server is None else "ready"
        return f"<Evaluators: {state}, {self._slots}, {len(self._idle)} idle>"

    def statistics(self) -> dict[str, int]:
        """Return the numbers of hooks in each state, of spares, and of server starts."""
        return {
            "evaluating": self._slots.held,
            "queued": self._slots.waiting,
            "idle": len(self._idle),
            "spares": len(self._spares),
            "starts": self._starts,
        }

    @property
    def ready(self) -> bool:
        """True while the fork server runs."""
        return self._server is not None

    @property
    def failing(self) -> bool:
        """True after the fork server has died before it was ready."""
        return self._failing

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Keep a fork server running until cancelled. Reports as started once the first one is being started.

        When cancelled, it ends the server and all hooks' processes, and waits a few seconds for that.
        """
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._spares.run)
            task_status.started()
            await self._keep_server()

    async def _keep_server(self) -> NoReturn:
        failures = 0
        while True:
            self._starts += 1
            began = trio.current_time()
            try:
                await self._run_server(
                    self.limits.cpu_seconds,
                    self.limits.memory,
                    on_ready=self._note_ready,
                    on_end=self._note_end,
                )
            except (OSError, ProtocolError) as error:
                self._failing = True
                log.error("the fork server can't be used", error=str(error))
            failures = 0 if trio.current_time() - began > _STABLE_SECONDS else failures + 1
            delay = _RESTART.delay(failures) if failures else 0.0
            log.error("the fork server has ended; it is started again", seconds=round(delay, 1))
            await trio.sleep(delay)

    async def evaluate(self, request: Evaluate, host: HookHost, key: Hashable) -> None:
        """Evaluate a hook, and wait for everything that it has started.

        Args:
            key: the repository, which can't hold more than half of the slots.

        Raises HookFailed, HookStopped, HookCrashed, EvaluatorLost, or what the host raised. If cancelled, it kills
        the hook's process.
        """
        ending = await self._converse(request, host, key, self._slots)
        if not isinstance(ending, Evaluated):
            raise HookCrashed("its process answered something else")

    async def describe(self, thunk: bytes, key: Hashable) -> Described:
        """Describe a thunk. Unless it's small, that is done in a process of its own.

        Raises the same errors as `evaluate`, and HookFailed if it isn't a thunk.
        """
        if len(thunk) <= MAX_SMALL:
            try:
                return describe(thunk)
            except BassError as error:
                raise HookFailed(str(error), render(error)) from error
        ending = await self._converse(Describe(thunk), None, key, self._describing)
        if not isinstance(ending, Described):
            raise HookCrashed("its process answered something else")
        return ending

    async def _converse(
        self,
        request: Evaluate | Describe,
        host: HookHost | None,
        key: Hashable,
        slots: FairLimiter,
    ) -> FinalMessage:
        slot = HookSlot(slots, key)
        await slot.take()
        try:
            server = await self._server_when_ready()
            async with self._spares.process(server) as (job, stream):
                process = HookProcess(self.limits, self._idle, host, slot, job, stream)
                return await process.run(request)
        finally:
            slot.release()

    async def _server_when_ready(self) -> ServerProcess:
        with trio.move_on_after(_START_SECONDS):
            while self._server is None:
                await self._ready.wait()
        if self._server is None:
            raise EvaluatorLost("the fork server can't be started; the loop's log says why")
        return self._server

    def _note_ready(self, server: ServerProcess, ready: Ready) -> None:
        self._server, self._failing = server, False
        self._spares.use(server)
        self._ready.set()
        log.info("ready to evaluate hooks", confined_by=", ".join(ready.layers))
        if ready.missing:
            log.warning("hooks are not fully confined", missing=", ".join(ready.missing))

    def _note_end(self) -> None:
        self._failing = self._server is None
        self._server, self._ready = None, trio.Event()
        self._spares.use(None)
